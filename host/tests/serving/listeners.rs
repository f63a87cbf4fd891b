//! Listeners with TLS, and those that systemd has opened.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{ECHO_ROUTE, Folder, Program, get, run};

use crate::support::tls::{get_over_tls, renew};

#[test]
fn tls_needs_two_flags_and_a_hangup_takes_new_certificates() {
    let folder = Folder::new();
    let old = renew(&folder);
    let program =
        Program::start(
            folder
                .command()
                .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn,waterspout=info"])
                .args(["--tls-certificate", "chain.pem", "--tls-key", "key.pem"]),
        );
    let address = program.address();
    assert_eq!(program.first_line(), format!("listening on wss://{address}/websocket"));
    assert_eq!(program.next_line(), format!("open https://{address}/ in a browser"));
    assert!(get_over_tls(address, &old).expect("served").ends_with("ok\n"));
    let new = renew(&folder);
    program.signal(Signal::HUP);
    program.record_with("SIGHUP: the certificates are reloaded");
    get_over_tls(address, &new).expect("the new certificate is served");
    assert!(get_over_tls(address, &old).is_err());
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code, 0);
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_before_the_port_opens() {
    let folder = Folder::new();
    renew(&folder);
    folder.write("empty.pem", "");
    let serve = |certificate: &str, key: &str| {
        let flags = ["--tls-certificate", certificate, "--tls-key", key];
        run(folder.serve().args(flags))
    };
    let ended = serve("empty.pem", "key.pem");
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().contains("empty.pem: holds no certificate"), "{ended:?}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    folder.write("other.pem", other.signing_key.serialize_pem());
    let ended = serve("chain.pem", "other.pem");
    assert!(ended.sentence().contains("other.pem: is not the key of the certificate chain.pem"), "{ended:?}");
    let ended = run(folder.command().args(["serve", "--tls-key", "key.pem"]));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("--tls-certificate"), "{ended:?}");
}

#[test]
fn systemds_sockets_are_taken_by_name() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let configuration = format!("[[listener]]\naddress = 'systemd:web'\n{ECHO_ROUTE}");
    let program = Program::start(&mut folder.serve_socket_activated(listener, configuration));
    assert_eq!(program.first_line(), format!("listening on ws://{address}/echo"));
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
    let ended = run(folder.command().args(["serve", "--config", "waterspout.toml"]));
    assert!(ended.sentence().contains("systemd has given no socket"), "{ended:?}");
}
