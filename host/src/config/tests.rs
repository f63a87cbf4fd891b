use super::*;
use crate::connection::compression::{CompressionPolicy, Level, WindowBits};
use crate::limits::{FuelLimit, TenantLimits};
use crate::server::routes::InstancePolicy;

fn read(text: &str) -> Result<Config, String> {
    Config::from_text(text, Path::new("conf/waterspout.toml"), None).map_err(|error| error.to_string())
}

fn mistake(text: &str) -> String {
    read(text).expect_err("a mistake")
}

const ROUTE: &str = "[route.chat]\npath = '/chat/{room}'\nhandler = 'chat.wasm'\n";

#[test]
fn a_route_needs_only_path_and_handler() {
    let config = read(ROUTE).expect("valid");
    let (route, handler) = &config.routes[0];
    assert_eq!(route.name, "chat");
    assert_eq!(route.policy, InstancePolicy::Connection);
    assert_eq!(route.hosts, Hosts::Loopback);
    assert_eq!(*handler, HandlerSource::File("conf/chat.wasm".into()));
    assert_eq!(config.listeners, [ListenerConfig::plain(DEFAULT_LISTEN)]);
    assert_eq!(config.page, PageChoice::Off);
}

#[test]
fn a_route_that_one_instance_serves_has_no_canaries() {
    for key in ["canary-time = '1min'", "canary-addresses = 5"] {
        let error = mistake(&format!("{ROUTE}instance = 'route'\n{key}\n"));
        let name = key.split(' ').next().expect("a key");
        assert!(error.contains(&format!(":5: in route `chat`: `{name}`: one instance serves")), "{error}");
        read(&format!("{ROUTE}instance = '{{room}}'\n{key}\n")).expect("valid");
    }
}

#[test]
fn a_route_may_have_a_thousand_spares_and_no_more_than_instances() {
    let spares =
        |keys: &str| read(&format!("{ROUTE}{keys}")).map(|config| config.routes[0].0.spare_instances);
    assert_eq!(spares(""), Ok(0));
    assert_eq!(spares("spare-instances = 1000"), Ok(1000));
    assert_eq!(spares("spare-instances = 7\nlimits.max-instances = 7"), Ok(7));
    for (keys, why) in [
        ("spare-instances = 1001", "`spare-instances = 1001`: at most 1000"),
        ("spare-instances = 8\nlimits.max-instances = 7", "more than the route's `max-instances` (7)"),
        ("spare-instances = -1", "`spare-instances = -1`: "),
        ("spare-instances = 'unlimited'", "`spare-instances = 'unlimited'`: "),
    ] {
        let error = spares(keys).expect_err("a mistake");
        assert!(error.contains(":4: ") && error.contains(why), "{keys}: {error}");
    }
}

#[test]
fn a_routes_limits_stand_on_the_files() {
    let text = format!(
        "[limits]\nmax-message-bytes = '1KiB'\nmax-timers = 1\n{ROUTE}[route.chat.limits]\nmax-timers = 2"
    );
    let config = read(&text).expect("valid");
    let limits = &config.routes[0].0.limits;
    assert_eq!((limits.max_message_bytes, limits.max_timers), (1024, 2));
}

#[test]
fn fuel_is_counted_where_somebody_says_how_much_or_unlimited() {
    let fuel = |text: &str| read(text).expect("valid").routes[0].0.limits.fuel_per_event;
    let of_route = |value: &str| fuel(&format!("{ROUTE}[route.chat.limits]\nfuel-per-event = {value}\n"));
    assert_eq!(fuel(ROUTE), FuelLimit::Off);
    assert_eq!(of_route("10_000_000"), FuelLimit::AtMost(10_000_000));
    assert_eq!(of_route("9223372036854775807"), FuelLimit::AtMost(i64::MAX as u64), "all that TOML has");
    assert_eq!(of_route("'unlimited'"), FuelLimit::AtMost(u64::MAX));
    let of_tenant =
        "[tenant.acme]\nlimits.fuel-per-event = 5\n[tenant.acme.route.chat]\npath = '/chat'\nhandler = 'x'\n";
    assert_eq!(fuel(of_tenant), FuelLimit::AtMost(5));
    assert_eq!(fuel(&format!("{of_tenant}limits.fuel-per-event = 'off'\n")), FuelLimit::Off);
}

#[test]
fn fuel_that_is_no_number_of_units_is_refused_with_what_may_stand_there() {
    let refused = |value: &str| mistake(&format!("{ROUTE}[route.chat.limits]\nfuel-per-event = {value}\n"));
    for value in ["'much'", "'1MiB'", "-1", "true", "1.5"] {
        let error = refused(value);
        assert!(error.contains(":5:") && error.contains("fuel-per-event"), "{error}");
        assert!(error.contains("10000000") || error.contains("count or \"off\" or \"unlimited\""), "{error}");
    }
    let error = refused("0");
    assert!(error.contains("`fuel-per-event` must be at least 1") && error.contains("off"), "{error}");
}

#[test]
fn routes_keep_the_files_order() {
    let text = "[route.z]\npath='/a'\nhandler='x'\n[route.a]\npath='/a'\nhandler='x'\n[route.m]\npath='/a'\nhandler='x'\n";
    let names: Vec<_> = read(text).expect("valid").routes.into_iter().map(|(route, _)| route.name).collect();
    assert_eq!(names, ["z", "a", "m"]);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
    let error = mistake(&format!("{ROUTE}instanse = 'route'\n"));
    assert!(
        error.starts_with("conf/waterspout.toml:4: unknown key `instanse`; did you mean `instance`?"),
        "{error}"
    );
    let error = mistake(&format!("{ROUTE}[route.chat.limits]\nmax-message-byte = 1\n"));
    assert!(
        error.contains(":5: unknown key `max-message-byte`; did you mean `max-message-bytes`?"),
        "{error}"
    );
    let error = mistake(&format!("listne = '127.0.0.1:1'\n{ROUTE}"));
    assert!(error.contains(":1: unknown key `listne`; did you mean `listen`?"), "{error}");
}

#[test]
fn a_wrong_value_is_shown_with_what_would_be_right() {
    let error = mistake(&format!("{ROUTE}[route.chat.limits]\ncpu-per-event = 'soon'\n"));
    assert!(error.contains(":5: `cpu-per-event = 'soon'`") && error.contains("50ms"), "{error}");
    let error = mistake(&format!("listen = 'here'\n{ROUTE}"));
    assert!(error.contains(":1:") && error.contains("here"), "{error}");
    let error = mistake(&format!("page = 3\n{ROUTE}"));
    assert!(error.contains("true, false or the path"), "{error}");
}

#[test]
fn a_wrong_value_within_a_route_names_route_key_and_value() {
    let error = mistake(&format!("{ROUTE}instance = '{{rom}}'\n"));
    assert!(
        error.contains(":4: in route `chat`: `instance = \"{rom}\"`") && error.contains("`room`"),
        "{error}"
    );
    let error = mistake("[route.a]\npath = 'chat'\nhandler = 'x'\n");
    assert!(error.contains("`path = \"chat\"`: a path begins with `/`"), "{error}");
    let error = mistake(&format!("{ROUTE}origins = ['example.com']\n"));
    assert!(error.contains("https://example.com"), "{error}");
    let error = mistake(&format!("{ROUTE}environment = {{ 'a=b' = 'c' }}\n"));
    assert!(error.contains(":4:") && error.contains("`a=b` cannot be a variable"), "{error}");
    let error = mistake(&format!("{ROUTE}hosts = ['example.com:80']\n"));
    assert!(error.contains("without port"), "{error}");
    let error = mistake(&format!("{ROUTE}[route.chat.limits]\nwall-per-event = '10ms'\n"));
    assert!(error.contains(":5:") && error.contains("wall-per-event"), "{error}");
    let error = mistake(&format!("{ROUTE}[route.chat.limits]\nmax-memory-bytes = '5GiB'\n"));
    assert!(error.contains("max-memory-bytes"), "{error}");
    let error = mistake(&format!("max-connections = 0\n{ROUTE}"));
    assert!(error.contains("`max-connections = 0`"), "{error}");
}

#[test]
fn compression_is_on_off_or_a_table() {
    let policy =
        |text: &str| read(&format!("{ROUTE}{text}\n")).expect("valid").routes[0].0.compression.clone();
    assert_eq!(policy(""), Some(CompressionPolicy::default()));
    assert_eq!(policy("compression = true"), Some(CompressionPolicy::default()));
    assert_eq!(policy("compression = false"), None);
    let table = "[route.chat.compression]\ncontext-takeover = false\nmax-window-bits = 9\nmax-level = 3\nthreshold = '1KiB'";
    let expected = CompressionPolicy {
        context_takeover: false,
        max_window_bits: WindowBits::MIN,
        max_level: Level::try_from(3).expect("a level"),
        threshold: Some(1024),
    };
    assert_eq!(policy(table), Some(expected));
}

#[test]
fn a_mistake_in_compression_is_named() {
    let error = mistake(&format!("{ROUTE}[route.chat.compression]\nmax-window-bits = 8\n"));
    assert!(
        error.contains(":5:") && error.contains("`max-window-bits = 8`") && error.contains("9 to 15"),
        "{error}"
    );
    for wrong in ["max-level = -1", "max-level = 10", "max-window-bits = 300"] {
        let error = mistake(&format!("{ROUTE}[route.chat.compression]\n{wrong}\n"));
        assert!(error.contains(&format!("`{wrong}`: it is ")), "{error}");
    }
    let error = mistake(&format!("{ROUTE}[route.chat.limits]\nmax-compression-bytes = 1000\n"));
    assert!(error.contains("compression = false"), "{error}");
    let error = mistake(&format!("{ROUTE}[route.chat.compression]\ntreshold = 8\n"));
    assert!(error.contains("unknown key `treshold`; did you mean `threshold`?"), "{error}");
    let error = mistake(&format!("{ROUTE}compression = 3\n"));
    assert!(error.contains(":4:") && error.contains("true, false or a table"), "{error}");
}

#[test]
fn a_file_without_a_route_or_a_route_without_a_handler_says_so() {
    assert!(mistake("").contains("there is no route"));
    assert!(mistake("[route.a]\npath = '/'\n").contains("the route has no `handler`"));
    assert!(mistake("[route.a\n").starts_with("conf/waterspout.toml:1:"));
}

#[test]
fn the_default_host_names_follow_the_address_that_is_bound() {
    let hosts = |listen: &str| {
        let listen = Some(listen.parse().expect("an address"));
        let text = format!("listen = '0.0.0.0:80'\n{ROUTE}");
        let config = Config::from_text(&text, Path::new("f"), listen).expect("valid");
        config.routes[0].0.hosts.clone()
    };
    assert_eq!(hosts("127.0.0.1:1"), Hosts::Loopback);
    assert_eq!(hosts("0.0.0.0:1"), Hosts::Any);
}

#[test]
fn listeners_stand_beside_listen_and_replace_its_default() {
    let listener = "[[listener]]\naddress = 'unix:/run/w.sock'\nmode = '0660'\nproxy-protocol = true\n";
    let config = read(&format!("{listener}{ROUTE}")).expect("valid");
    let unix = ListenerConfig {
        address: ListenAddress::Unix("/run/w.sock".into()),
        tls: false,
        proxy_protocol: true,
        mode: Some(0o660),
    };
    assert_eq!(config.listeners, std::slice::from_ref(&unix));
    assert_eq!(config.routes[0].0.hosts, Hosts::Loopback);
    let config = read(&format!("listen = '0.0.0.0:80'\n{listener}{ROUTE}")).expect("valid");
    let tcp = ListenerConfig::plain("0.0.0.0:80".parse().expect("an address"));
    assert_eq!(config.listeners, [tcp, unix]);
    assert_eq!(config.routes[0].0.hosts, Hosts::Any, "one listener is not local");
}

#[test]
fn a_mistake_in_a_listener_or_a_certificate_is_named() {
    for (text, line, why) in [
        ("[[listener]]\naddress = 'here'\n", ":2:", "unix:/path/to.sock"),
        ("[[listener]]\ntls = true\n", ":1:", "the listener has no `address`"),
        ("[[listener]]\naddress = 'systemd'\nmode = '999'\n", ":3:", "0660"),
        ("[[listener]]\naddress = 'systemd'\ntls = true\n", ":3:", "[[certificate]]"),
        ("[[certificate]]\ncertificate = 'x.pem'\n", ":1:", "the certificate has no `key`"),
        ("[[listener]]\naddress = 'systemd'\nmod = '0660'\n", ":3:", "did you mean `mode`?"),
        ("trusted-proxies = ['10.0.0.0/33']\n", ":1:", "10.0.0.0/8"),
        ("handshake-timeout = '0s'\n", ":1:", "100ms to 1h"),
        ("max-connections-per-address = 0\n", ":", "at least 1"),
        ("[[certificate]]\ncertificate = 'a'\nkey = 'b'\n", ":", "no listener with `tls = true`"),
        ("[[listener]]\naddress = '127.0.0.1:1'\nmode = '0660'\n", ":3:", "`unix:` address"),
    ] {
        let error = mistake(&format!("{text}{ROUTE}"));
        assert!(error.contains(line) && error.contains(why), "{error}");
    }
}

#[test]
fn certificates_are_files_beside_the_configuration() {
    let text = format!(
        "trusted-proxies = ['10.0.0.0/8', 'unix']\nhandshake-timeout = '3s'\n\
         [[listener]]\naddress = '[::]:443'\ntls = true\n\
         [[certificate]]\ncertificate = 'chain.pem'\nkey = 'key.pem'\n{ROUTE}"
    );
    let config = read(&text).expect("valid");
    let files = CertificateFiles { certificate: "conf/chain.pem".into(), key: "conf/key.pem".into() };
    assert_eq!(config.certificates, [files]);
    assert_eq!(config.server.trusted_proxies.to_string(), "10.0.0.0/8, unix");
    assert_eq!(config.server.handshake_timeout, Duration::from_secs(3));
}

#[test]
fn the_admin_listener_is_off_unless_it_is_asked_for() {
    assert_eq!(read(ROUTE).expect("valid").admin, None);
    let text = format!("[admin]\nlisten = 'unix:/run/w.sock'\nmode = '0660'\ntoken-file = 'token'\n{ROUTE}");
    let admin = read(&text).expect("valid").admin.expect("there is one");
    assert_eq!((admin.address.to_string().as_str(), admin.mode), ("unix:/run/w.sock", Some(0o660)));
    assert_eq!(admin.token_file, Some("conf/token".into()));
}

#[test]
fn an_admin_listener_for_everybody_is_a_mistake_that_says_why() {
    for (table, why) in [
        (
            "listen = '0.0.0.0:9090'\ntoken-file = 'x'",
            "conf/waterspout.toml:2: in `[admin]`: the admin listener must not be reachable",
        ),
        ("listen = 'systemd'", "must not be reachable from elsewhere"),
        ("listen = '127.0.0.1:9090'", "add `token-file`"),
        (
            "listen = '127.0.0.1:9090'\ntoken-file = 'x'\nmode = '0600'",
            "conf/waterspout.toml:4: in `[admin]`: `mode`",
        ),
        ("token-file = 'x'", "`[admin]` has no `listen`"),
    ] {
        let error = mistake(&format!("[admin]\n{table}\n{ROUTE}"));
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::from_file(Path::new("no-such-file.toml")).expect_err("missing").to_string();
    assert!(error.contains("no-such-file.toml"), "{error}");
}

#[test]
fn the_documentation_has_every_key() {
    let page = include_str!("../../../docs/configuration.md");
    let compression = format!("{ROUTE}[route.chat.compression]\nnonsense = 1\n");
    let listener = format!("[[listener]]\naddress = 'systemd'\nnonsense = 1\n{ROUTE}");
    let certificate = format!("[[certificate]]\ncertificate = 'x'\nkey = 'x'\nnonsense = 1\n{ROUTE}");
    let tenant = format!("[tenant.acme]\nnonsense = 1\n{ROUTE}");
    let total = format!("[tenant.acme.total]\nnonsense = 1\n{ROUTE}");
    let compile = format!("[compile]\nnonsense = 1\n{ROUTE}");
    let admin = format!("[admin]\nlisten = 'unix:x'\nnonsense = 1\n{ROUTE}");
    let tables = [compression, listener, certificate, tenant, total, compile, admin];
    for text in ["nonsense = 1\n".to_owned(), format!("{ROUTE}nonsense = 1\n")].into_iter().chain(tables) {
        let error = mistake(&text);
        let (_, keys) = error.split_once("(there are: ").expect("the known keys");
        for key in keys.trim_end_matches(')').split(", ") {
            assert!(page.contains(&format!("| `{key}` |")), "docs/configuration.md lacks `{key}`");
        }
    }
}

const TENANTS: &str = "[tenant.acme]\nhosts = ['acme.example']\nconnect = ['api.acme.example:443']\n\
    [tenant.acme.total]\nmax-connections = 7\ncpu-share = 'unlimited'\n\
    [tenant.acme.limits]\nmax-timers = 3\n\
    [tenant.acme.route.chat]\npath = '/chat'\nhandler = 'chat.wasm'\n\
    [tenant.umbrella]\nhosts = ['umbrella.example']\n\
    [tenant.umbrella.route.gate]\npath = '/gate'\nhandler = 'gate.wasm'\nconnect = []\n";

#[test]
fn a_tenants_routes_have_his_hosts_limits_and_destinations() {
    let text = TENANTS.replace("cpu-share = 'unlimited'", "max-memory-bytes = '1GiB'");
    let config = read(&format!("[limits]\nmax-topics = 5\n{text}")).expect("valid");
    let (chat, gate) = (&config.routes[0].0, &config.routes[1].0);
    assert_eq!((chat.tenant.name.as_str(), gate.tenant.name.as_str()), ("acme", "umbrella"));
    assert_eq!((chat.tenant.total.max_connections, chat.tenant.total.max_memory_bytes), (7, 1 << 30));
    assert_eq!(gate.tenant.total, TenantLimits::default());
    assert_eq!((chat.limits.max_timers, chat.limits.max_topics), (3, 5));
    assert_eq!(gate.limits.max_timers, Limits::default().max_timers);
    assert!(chat.hosts.allow("acme.example") && !chat.hosts.allow("umbrella.example"));
    assert!(chat.connect.allow("api.acme.example", 443) && !gate.connect.allow("api.acme.example", 443));
}

#[test]
fn a_route_may_narrow_what_its_tenant_connects_to_and_not_widen_it() {
    let file = |of_tenant: &str, of_route: &str| {
        format!(
            "[tenant.acme]\nhosts = ['acme.example']\n{of_tenant}\n[tenant.acme.route.chat]\npath = '/chat'\n\
             handler = 'chat.wasm'\nconnect = [{of_route}]\n"
        )
    };
    let bound = "connect = ['*.acme.example:443', '10.0.0.5:9000']";
    for within in ["", "'a.acme.example:443'", "'*.b.acme.example:443', '10.0.0.5:9000'"] {
        let config = read(&file(bound, within)).expect(within);
        let connect = &config.routes[0].0.connect;
        assert_eq!(connect.allow("a.acme.example", 443), within.starts_with("'a."), "the route's own counts");
    }
    for (of_tenant, outside) in [
        (bound, "b.example:443"),
        (bound, "10.0.0.5:9001"),
        (bound, "*.example:443"),
        ("connect = []", "a:1"),
    ] {
        let error = mistake(&file(
            of_tenant,
            &format!("'a.acme.example:443', '{outside}'").replace("'a.acme.example:443', 'a:1'", "'a:1'"),
        ));
        let place = "conf/waterspout.toml:7: in route `chat`: `connect`: ";
        assert!(error.starts_with(&format!("{place}`{outside}` is not among")), "{error}");
        assert!(error.contains("add it to `connect` of `[tenant.acme]`"), "{error}");
    }
    assert!(mistake(&file("connect = []", "'a:1'")).contains("may connect to (nothing)"));
    // Without a bound the routes decide.
    let config = read(&file("", "'b.example:443'")).expect("valid");
    assert!(config.routes[0].0.connect.allow("b.example", 443));
}

#[test]
fn files_that_the_routes_name_are_known_to_the_sandbox() {
    let error = mistake(&format!("sandbox = true\nuser = 'nobody'\n{ROUTE}connect-ca = 'ca.pem'\n"));
    assert!(error.contains("ca.pem"), "{error}");
    let config = read(&format!("sandbox = true\nuser = 'nobody'\n{ROUTE}")).expect("valid");
    assert!(config.sandbox && config.user.as_deref() == Some("nobody") && config.authorities.is_empty());
}

#[test]
fn routes_without_a_tenant_are_bounded_by_the_server_alone() {
    let config = read(ROUTE).expect("valid");
    assert_eq!(config.routes[0].0.tenant, Tenant::default());
    assert_eq!(Tenant::default().total.max_connections, u32::MAX);
}

#[test]
fn a_mistake_in_a_tenant_is_named() {
    let valid = TENANTS.replace("cpu-share = 'unlimited'\n", "");
    assert!(read(&valid).is_ok(), "{}", mistake(&valid));
    for (text, line, why) in [
        (TENANTS.to_owned(), ":6:", "`cpu-share` must be at most 10000"),
        (
            valid.replace("max-connections = 7", "max-connections = 0"),
            ":5:",
            "in tenant `acme`: `max-connections` must be at least 1",
        ),
        (valid.replace("tenant.acme", "tenant.default"), ":", "`default` are the routes without a tenant"),
        (
            valid.replace("umbrella.example", "acme.example"),
            ":12:",
            "`hosts`: acme.example would be answered for tenant `acme`",
        ),
        (valid.replace("'umbrella.example'", "'*.example'"), ":12:", "acme.example"),
        (valid.replace("hosts = [", "hosts = ['both.example', "), ":12:", "both.example would be answered"),
        (valid.replace("route.gate", "route.chat"), ":", "another route has this name"),
        (valid.replace("[tenant.acme.total]", "[tenant.acme.totl]"), ":4:", "did you mean `total`?"),
        (
            valid.replace("[tenant.umbrella]\n", "[tenant.umbrella]\nmax-connections = 1\n"),
            ":12:",
            "unknown key `max-connections`",
        ),
    ] {
        let error = mistake(&text);
        assert!(error.contains(line) && error.contains(why), "{error}");
    }
    let anybody = format!("listen = '0.0.0.0:80'\n{valid}").replace("hosts = ['umbrella.example']\n", "");
    assert!(
        mistake(&anybody).contains("acme.example would be answered for tenant `acme`"),
        "{}",
        mistake(&anybody)
    );
}

#[test]
fn every_limit_takes_unlimited_or_says_why_it_cannot() {
    let route = |key: String| format!("{ROUTE}[route.chat.limits]\n{key} = 'unlimited'\n");
    let tenant = |key: String| {
        format!(
            "[tenant.a]\n[tenant.a.total]\n{key} = 'unlimited'\n[tenant.a.route.b]\npath = '/'\nhandler = 'x'\n"
        )
    };
    let config = read(ROUTE).expect("valid");
    let own = config.shown_limits().into_iter().map(|(key, _)| format!("{key} = 'unlimited'\n{ROUTE}"));
    let compile = config.compile.shown().into_iter();
    let compile = compile.map(|(key, _)| format!("[compile]\n{key} = 'unlimited'\n{ROUTE}"));
    let of_routes = Limits::reference().into_iter().map(|line| route(line.key));
    let of_tenants = TenantLimits::reference().into_iter().map(|line| tenant(line.key));
    let mut refused = Vec::new();
    for text in own.chain(compile).chain(of_routes).chain(of_tenants) {
        let Err(error) = read(&text) else { continue };
        let (_, why) = error.rsplit_once(": ").expect("a reason");
        assert!(error.starts_with("conf/waterspout.toml:") && why.contains(' '), "{error}");
        let key = text.lines().find_map(|line| line.strip_suffix(" = 'unlimited'")).expect("a key");
        assert!(error.contains(&format!("`{key}")), "{error}");
        refused.push((key.to_owned(), why.to_owned()));
    }
    let expected = [
        ("handshake-timeout", "a peer that says nothing would keep its place"),
        ("max-instances", "address space is set aside for every instance"),
        ("max-table-elements", "the room is set aside for every instance"),
        ("cpu-share", "it is a part beside others' parts"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for ((key, why), (wanted_key, wanted)) in refused.iter().zip(expected) {
        assert!(key == wanted_key && why.starts_with(wanted), "{key}: {why}");
    }
}

#[test]
fn what_cannot_be_unlimited_is_not_offered_to_be() {
    let error = mistake(&format!("max-instances = 'many'\n{ROUTE}"));
    assert!(error.contains(":1:") && !error.contains("unlimited"), "{error}");
    let error = mistake(&format!("max-connections = 'many'\n{ROUTE}"));
    assert!(error.contains("unlimited"), "{error}");
    // The number that stands for it inside is none that a file may say.
    let error = mistake(&format!("max-connections = 4294967295\n{ROUTE}"));
    assert!(error.contains("at most 4294967294"), "{error}");
}

#[test]
fn unlimited_is_what_a_file_says_and_not_a_large_number() {
    let limits = |text: &str| {
        read(&format!("{ROUTE}[route.chat.limits]\n{text}\n")).map(|config| config.routes[0].0.limits.clone())
    };
    for key in [
        "max-message-bytes",
        "max-queue-bytes",
        "max-memory-bytes",
        "cpu-per-event",
        "max-timers",
        "life-time",
    ] {
        let limits = limits(&format!("{key} = 'unlimited'")).expect("valid");
        assert!(limits.shown().contains(&(key.to_owned(), "unlimited".to_owned())), "{key}");
    }
    let error = limits("max-table-elements = 'unlimited'").expect_err("room is set aside for them");
    assert!(error.contains("at most 10000000"), "{error}");
    let error = limits("max-timers = 'many'").expect_err("no number");
    assert!(error.contains("unlimited"), "{error}");
}

#[test]
fn what_is_no_size_is_told_what_one_looks_like() {
    let bytes = |value: &str| {
        let config = read(&format!("{ROUTE}limits.max-message-bytes = {value}\n"))?;
        Ok::<_, String>(config.routes[0].0.limits.max_message_bytes)
    };
    for (value, size) in [("'64KiB'", 65_536), ("'1.5 kB'", 1_500), ("'100'", 100), ("100", 100)] {
        assert_eq!(bytes(value), Ok(size), "{value}");
    }
    for value in ["'-1'", "-1", "'much'", "''", "'1 XB'"] {
        let error = bytes(value).expect_err("a mistake");
        let wanted = "a size such as \"64KiB\", or a number of bytes";
        assert!(error.contains(":4: ") && error.contains(wanted), "{value}: {error}");
    }
    let error = mistake(&format!("max-memory-bytes = '-1'\n{ROUTE}"));
    assert!(
        error.ends_with("`-1` is not a size such as \"64KiB\", or a number of bytes; or \"unlimited\""),
        "{error}"
    );
}
