//! The pages with Rust blocks: each block is compiled, and run unless it says otherwise, with the tests of the documentation.
//! `tests/it/pages` knows which pages are here.

macro_rules! pages {
    ($($name:ident = $path:literal;)+) => {
        $(#[doc = include_str!($path)] mod $name {})+
    };
}

pages! {
    components = "../docs/components.md";
    emulator = "../docs/emulator.md";
    migration = "../docs/migration.md";
    oauth2 = "../docs/oauth2.md";
}
