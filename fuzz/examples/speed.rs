//! How fast the guard is: `cargo run --release --example speed`.

use std::time::Instant;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [
        &[kind, 0, 1],
        (payload.len() as u32).to_be_bytes().as_slice(),
        payload,
        &[0xCE],
    ]
    .concat()
}

fn main() {
    let name = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
    let deliver = [
        &[0, 60, 0, 60],
        name("ctag").as_slice(),
        &[0; 9],
        &name("exchange"),
        &name("key"),
    ]
    .concat();
    let entry = |n: i32| {
        [
            name(&format!("header-{n}")).as_slice(),
            b"S\0\0\0\x24",
            &[b'v'; 36],
        ]
        .concat()
    };
    let entries: Vec<u8> = (0..12).flat_map(entry).collect();
    let table = [(entries.len() as u32).to_be_bytes().as_slice(), &entries].concat();
    let properties = [
        &[0b1011_0000, 0],
        name("application/json").as_slice(),
        &table,
        &[2],
    ]
    .concat();
    let header = [
        &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        properties.as_slice(),
    ]
    .concat();
    for body in [0, 100, 1000, 10_000, 131_064] {
        let message = [
            frame(1, &deliver),
            frame(2, &header),
            frame(3, &vec![b'x'; body]),
        ]
        .concat();
        let count = (256 << 20) / message.len();
        let bytes = message.repeat(count);
        let start = Instant::now();
        elasticio_sailor_fuzz::guard::pass(&bytes);
        let took = start.elapsed().as_secs_f64();
        let (rate, messages) = (bytes.len() as f64 / took / 1e6, count as f64 / took);
        println!("bodies of {body} bytes: {rate:.0} MB/s, {messages:.0} messages/s");
    }
}
