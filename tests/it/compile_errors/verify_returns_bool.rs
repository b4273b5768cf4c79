//~ resolves to `Result<Verified, Error>`, but it resolves to `Result<bool, Error>`
//~ required by a bound in `verify_credentials`
//~ sailor::check::verify_credentials(verify);
use sailor::prelude::*;

async fn verify(_: ServiceContext) -> anyhow::Result<bool> {
    Ok(true)
}

fn main() {
    sailor::check::verify_credentials(verify);
}
