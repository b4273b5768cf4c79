//~ `Folders: serde::Serialize` is not satisfied
//~ sailor::check::select_model(folders);
//~ required by a bound in `select_model`
//~ required by a bound in `sailor::Component::select_model`
//~ required by a bound in `sailor::check::metadata`
use sailor::prelude::*;

struct Folders {
    names: Vec<String>,
}

async fn folders(_: ServiceContext) -> anyhow::Result<Folders> {
    Ok(Folders { names: Vec::new() })
}

fn main() {
    sailor::check::select_model(folders);
    sailor::check::metadata(folders);
    let _ = Component::new("{}").unwrap().select_model("folders", folders);
}
