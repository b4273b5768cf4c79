use sailor::oauth2::Error;
use serde::Deserialize;

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

fn readable(error: Error) -> anyhow::Error {
    let refusal = match &error {
        Error::Status { status, body, .. } if status.is_client_error() => serde_json::from_str::<Refusal>(body).ok(),
        _ => None,
    };
    match refusal {
        Some(refusal) => anyhow::Error::new(error).context(format!("the API says: {}", refusal.message)),
        None => error.into(),
    }
}
