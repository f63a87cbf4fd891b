//! Handlers that are valid, and a burden to compile: the echo, and a module beside it that nobody runs.

/// What takes a minute to compile, and little room: a few functions, in which what every local holds depends on every branch.
pub(crate) fn slow() -> Vec<u8> {
    const LOCALS: usize = 500;
    const BRANCHES: usize = 5000;
    let local = |index: usize| number(index % LOCALS);
    let mut body = [number(1), number(LOCALS), vec![0x7f]].concat();
    for branch in 0..BRANCHES {
        // if (a) { a = b + c }
        body.extend([vec![0x20], local(branch * 7), vec![0x04, 0x40]].concat());
        body.extend([vec![0x20], local(branch * 13 + 5), vec![0x20], local(branch * 29 + 3)].concat());
        body.extend([vec![0x6a, 0x21], local(branch * 7), vec![0x0b]].concat());
    }
    body.extend([0x20, 0x00, 0x0b]);
    beside_echo(50, &body)
}

/// The echo, and a module of so many functions, each of so many additions and multiplications.
pub(super) fn with_functions(functions: usize, operations: usize) -> Vec<u8> {
    // + local, * 7
    let operation = [0x20, 0x00, 0x6a, 0x41, 0x07, 0x6c];
    let body = [&[0x00, 0x20, 0x00][..], &operation.repeat(operations), &[0x0b]].concat();
    beside_echo(functions, &body)
}

fn beside_echo(functions: usize, body: &[u8]) -> Vec<u8> {
    let body = [&number(body.len()), body].concat();
    let of_i32_to_i32 = [0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f];
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &of_i32_to_i32),
        section(3, &[number(functions), vec![0; functions]].concat()),
        section(10, &[number(functions), body.repeat(functions)].concat()),
    ];
    [super::echo(), section(1, &module.concat())].concat()
}

/// The same component, with so many bytes that mean nothing.
pub(crate) fn with_custom_section(component: &[u8], bytes: usize) -> Vec<u8> {
    let name = b"\x04fill";
    [component, &section(0, &[name.as_slice(), &vec![b'x'; bytes]].concat())].concat()
}

fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind][..], &number(content.len()), content].concat()
}

/// LEB128.
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
