//! Components with several linear memories and tables, as a JavaScript engine makes them.

use waterspout::{FuelLimit, Limits, Runtime, RuntimeOptions};
use waterspout_tests::{Guest, TestHost};

/// An echo that writes to each of four memories with every message, grows one, and uses two tables.
fn four_in_one_module() -> Guest {
    let more = "  (memory $second 1)\n  (memory $third 2 10)\n  (memory $fourth 1)\n  (table $one 10 funcref)\n  (table $other 20 funcref)\n";
    let each = "    (local $connection i32)
    (i32.store $second (i32.const 60000) (i32.const 2))
    (i32.store $third (i32.const 120000) (i32.const 3))
    (i32.store $fourth (i32.const 60000) (i32.const 4))
    (if (i32.ne (i32.load $second (i32.const 60000)) (i32.const 2)) (then unreachable))
    (drop (table.grow $other (ref.null func) (i32.const 1)))
    (if (i32.eq (memory.grow $fourth (i32.const 1)) (i32.const -1)) (then unreachable))
    (local.set $connection";
    Guest::echo_changed(|text| {
        let begin = "    (local $connection i32)\n    (local.set $connection";
        assert!(text.contains(begin), "host/src/handler/echo.wat has changed");
        text.replacen("  (global $arguments", &format!("{more}  (global $arguments"), 1)
            .replacen(begin, each, 1)
    })
}

/// The echo as a component that has three core instances more, each with a memory and a table of its own.
fn four_modules() -> Guest {
    let module =
        wat::parse_str("(module (memory 1) (table 10 funcref) (data (i32.const 0) \"mine\"))").expect("text");
    let Guest::Bytes(echo) = Guest::echo_changed(str::to_owned) else { unreachable!("it is bytes") };
    let mut component = wit_component::ComponentEncoder::default()
        .module(&echo)
        .and_then(|mut encoder| encoder.encode())
        .expect("a component");
    // Behind it: a core module (section 1), and three instances of it (section 2), which is the last of the modules there are.
    let index = core_modules(&component);
    let mut append = |id: u8, content: &[u8]| {
        component.push(id);
        component.extend(leb128(content.len()));
        component.extend(content);
    };
    append(1, &module);
    let instance = [&[0][..], &leb128(index), &[0]].concat();
    append(2, &[&[3][..], &instance.repeat(3)].concat());
    Guest::bytes(component)
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

/// How many sections of core modules a component has, not counting those of components within.
fn core_modules(component: &[u8]) -> usize {
    let mut rest = &component[8..];
    let mut count = 0;
    while let [id, tail @ ..] = rest {
        count += usize::from(*id == 1);
        let (mut length, mut shift, mut at) = (0, 0, 0);
        loop {
            let byte = tail[at];
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        rest = &tail[at + length..];
    }
    count
}

#[tokio::test]
async fn a_component_with_four_linear_memories_is_served_in_every_class() {
    let small = |limits: &mut Limits| limits.max_memory_bytes = 8 << 20;
    let metered = |limits: &mut Limits| limits.fuel_per_event = FuelLimit::AtMost(1_000_000);
    let classes: [&dyn Fn(&mut Limits); 3] = [&small, &|_| {}, &metered];
    for guest in [four_in_one_module(), four_modules()] {
        for class in classes {
            let host = TestHost::new(guest.clone()).limits(class).start().await;
            let mut clients = [host.connect("/websocket").await, host.connect("/websocket").await];
            for round in 0..3 {
                for client in &mut clients {
                    assert_eq!(client.say(format!("hello {round}")).await, format!("hello {round}"));
                }
            }
        }
    }
}

#[tokio::test]
async fn its_memories_share_the_instances_bound_and_it_takes_as_many_places_as_it_has_memories() {
    let limits = Limits { max_memory_bytes: 8 << 20, ..Limits::default() };
    let options = RuntimeOptions { max_instances: 9, ..RuntimeOptions::default() };
    let runtime = std::sync::Arc::new(Runtime::new(&options, [&limits]).expect("address space"));
    let host = TestHost::new(four_in_one_module())
        // Ten pages are there at the start.
        .limits(|limits| limits.max_memory_bytes = 12 << 16)
        .runtime(runtime)
        .start()
        .await;
    let mut client = host.connect("/websocket").await;
    let other = host.connect("/websocket").await;
    let full = host.request("/websocket").answer().await;
    assert_eq!((full.status, full.text()), (503, "The server is full."), "two of four are eight of nine");
    drop(other);
    for _ in 0..2 {
        assert_eq!(client.say("one page more").await, "one page more");
    }
    client.send_text("and one too many").await;
    assert_eq!(client.recv_close().await.0, 1011);
}
