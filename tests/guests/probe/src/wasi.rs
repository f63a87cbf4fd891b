//! What Rust's standard library has no function for, or, on this target, does not even ask the host for.

use std::net::SocketAddrV4;

// Of another version than std's own imports: these interfaces are cut down to what is used here, and the linker of wasm32-wasip2
// merges equal versions only if both are whole.
#[allow(unsafe_code, missing_docs, unreachable_pub)]
mod generated {
    wit_bindgen::generate!({
        inline: r#"
            package waterspout:probe;

            package wasi:io@0.2.1 {
                interface poll {
                    resource pollable { block: func(); }
                }
            }

            package wasi:clocks@0.2.1 {
                interface monotonic-clock {
                    use wasi:io/poll@0.2.1.{pollable};
                    type instant = u64;
                    type duration = u64;
                    now: func() -> instant;
                    subscribe-duration: func(when: duration) -> pollable;
                }
            }

            package wasi:random@0.2.1 {
                interface random {
                    get-random-bytes: func(len: u64) -> list<u8>;
                }
            }

            package wasi:sockets@0.2.1 {
                interface network {
                    resource network;
                    enum error-code {
                        unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                        concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                        address-not-bindable, address-in-use, remote-unreachable, connection-refused,
                        connection-reset, connection-aborted, datagram-too-large, name-unresolvable,
                        temporary-resolver-failure, permanent-resolver-failure,
                    }
                    enum ip-address-family { ipv4, ipv6 }
                    type ipv4-address = tuple<u8, u8, u8, u8>;
                    type ipv6-address = tuple<u16, u16, u16, u16, u16, u16, u16, u16>;
                    record ipv4-socket-address { port: u16, address: ipv4-address }
                    record ipv6-socket-address {
                        port: u16, flow-info: u32, address: ipv6-address, scope-id: u32,
                    }
                    variant ip-socket-address { ipv4(ipv4-socket-address), ipv6(ipv6-socket-address) }
                }
                interface instance-network {
                    use network.{network};
                    instance-network: func() -> network;
                }
                interface tcp {
                    use network.{network, error-code, ip-socket-address};
                    resource tcp-socket {
                        start-bind: func(network: borrow<network>, local-address: ip-socket-address)
                            -> result<_, error-code>;
                        start-connect: func(network: borrow<network>, remote-address: ip-socket-address)
                            -> result<_, error-code>;
                    }
                }
                interface tcp-create-socket {
                    use network.{error-code, ip-address-family};
                    use tcp.{tcp-socket};
                    create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
                }
                interface udp {
                    use network.{network, error-code, ip-socket-address};
                    resource udp-socket {
                        start-bind: func(network: borrow<network>, local-address: ip-socket-address)
                            -> result<_, error-code>;
                    }
                }
                interface udp-create-socket {
                    use network.{error-code, ip-address-family};
                    use udp.{udp-socket};
                    create-udp-socket: func(address-family: ip-address-family) -> result<udp-socket, error-code>;
                }
                interface ip-name-lookup {
                    use network.{network, error-code};
                    resource resolve-address-stream;
                    resolve-addresses: func(network: borrow<network>, name: string)
                        -> result<resolve-address-stream, error-code>;
                }
            }

            package wasi:http@0.2.1 {
                interface types {
                    use wasi:io/poll@0.2.1.{pollable};
                    variant scheme { HTTP, HTTPS, other(string) }
                    record DNS-error-payload { rcode: option<string>, info-code: option<u16> }
                    record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }
                    record field-size-payload { field-name: option<string>, field-size: option<u32> }
                    variant error-code {
                        DNS-timeout, DNS-error(DNS-error-payload), destination-not-found,
                        destination-unavailable, destination-IP-prohibited, destination-IP-unroutable,
                        connection-refused, connection-terminated, connection-timeout,
                        connection-read-timeout, connection-write-timeout, connection-limit-reached,
                        TLS-protocol-error, TLS-certificate-error,
                        TLS-alert-received(TLS-alert-received-payload), HTTP-request-denied,
                        HTTP-request-length-required, HTTP-request-body-size(option<u64>),
                        HTTP-request-method-invalid, HTTP-request-URI-invalid, HTTP-request-URI-too-long,
                        HTTP-request-header-section-size(option<u32>),
                        HTTP-request-header-size(option<field-size-payload>),
                        HTTP-request-trailer-section-size(option<u32>),
                        HTTP-request-trailer-size(field-size-payload), HTTP-response-incomplete,
                        HTTP-response-header-section-size(option<u32>),
                        HTTP-response-header-size(field-size-payload),
                        HTTP-response-body-size(option<u64>),
                        HTTP-response-trailer-section-size(option<u32>),
                        HTTP-response-trailer-size(field-size-payload),
                        HTTP-response-transfer-coding(option<string>),
                        HTTP-response-content-coding(option<string>), HTTP-response-timeout,
                        HTTP-upgrade-failed, HTTP-protocol-error, loop-detected, configuration-error,
                        internal-error(option<string>),
                    }
                    resource fields { constructor(); }
                    resource outgoing-request {
                        constructor(headers: fields);
                        set-scheme: func(scheme: option<scheme>) -> result;
                        set-authority: func(authority: option<string>) -> result;
                        set-path-with-query: func(path-with-query: option<string>) -> result;
                    }
                    resource request-options;
                    resource incoming-response;
                    resource future-incoming-response {
                        subscribe: func() -> pollable;
                        get: func() -> option<result<result<incoming-response, error-code>>>;
                    }
                }
                interface outgoing-handler {
                    use types.{outgoing-request, request-options, future-incoming-response, error-code};
                    handle: func(request: outgoing-request, options: option<request-options>)
                        -> result<future-incoming-response, error-code>;
                }
            }

            world probe {
                import wasi:clocks/monotonic-clock@0.2.1;
                import wasi:random/random@0.2.1;
                import wasi:sockets/instance-network@0.2.1;
                import wasi:sockets/tcp-create-socket@0.2.1;
                import wasi:sockets/udp-create-socket@0.2.1;
                import wasi:sockets/ip-name-lookup@0.2.1;
                import wasi:http/outgoing-handler@0.2.1;
            }
        "#,
        world: "waterspout:probe/probe",
        generate_all,
    });
}

pub(crate) use generated::wasi::clocks::monotonic_clock::{now as monotonic_now, subscribe_duration};
pub(crate) use generated::wasi::io::poll::Pollable;
pub(crate) use generated::wasi::random::random::get_random_bytes as random_bytes;

use generated::wasi::http::outgoing_handler::handle;
use generated::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use generated::wasi::sockets::instance_network::instance_network;
use generated::wasi::sockets::ip_name_lookup::resolve_addresses;
use generated::wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use generated::wasi::sockets::tcp_create_socket::create_tcp_socket;
use generated::wasi::sockets::udp_create_socket::create_udp_socket;

/// Begins to connect; `ok` if the host lets it.
pub(crate) fn connect(address: &str) -> String {
    outcome(
        create_tcp_socket(IpAddressFamily::Ipv4)
            .and_then(|socket| socket.start_connect(&instance_network(), parse(address))),
    )
}

pub(crate) fn bind_tcp(address: &str) -> String {
    outcome(
        create_tcp_socket(IpAddressFamily::Ipv4)
            .and_then(|socket| socket.start_bind(&instance_network(), parse(address))),
    )
}

pub(crate) fn bind_udp(address: &str) -> String {
    outcome(
        create_udp_socket(IpAddressFamily::Ipv4)
            .and_then(|socket| socket.start_bind(&instance_network(), parse(address))),
    )
}

pub(crate) fn resolve(name: &str) -> String {
    outcome(resolve_addresses(&instance_network(), name).map(drop))
}

/// Sends a GET request to an address.
pub(crate) fn fetch(address: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some(address)).expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let answer = handle(request, None).and_then(|future| {
        future.subscribe().block();
        future.get().expect("it is there").expect("it is asked for once")
    });
    answer.map_or_else(|error| format!("error: {error:?}"), |_| "ok".into())
}

fn parse(address: &str) -> IpSocketAddress {
    let address: SocketAddrV4 = address.parse().expect("an IPv4 address with a port");
    let [a, b, c, d] = address.ip().octets();
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
}

fn outcome(result: Result<(), ErrorCode>) -> String {
    result.map_or_else(|code| format!("error: {}", code.name()), |()| "ok".into())
}
