//! Handlers that are valid, and a burden to compile: the echo, and a module beside it that nobody runs.

/// What takes a minute and a gigabyte to compile.
pub(super) fn slow() -> Vec<u8> {
    with_functions(100_000, 60)
}

/// The echo, and a module of so many functions, each of so many additions and multiplications.
pub(super) fn with_functions(functions: usize, operations: usize) -> Vec<u8> {
    let local = [0x20, 0x00];
    // + local, * 7
    let operation = [0x20, 0x00, 0x6a, 0x41, 0x07, 0x6c];
    let body = [&[0][..], &local, &operation.repeat(operations), &[0x0b]].concat();
    let body = [number(body.len()), body].concat();
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
pub(super) fn with_custom_section(component: &[u8], bytes: usize) -> Vec<u8> {
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
