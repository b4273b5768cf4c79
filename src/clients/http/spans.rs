//! Requests as spans of a trace, with the names of OpenTelemetry's conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>). docs/tracing.md lists the attributes.
//!
//! Each attempt has a span of its own, from sending it until its response begins. A request outside of a traced message has
//! none.

use super::redacted_url;
use crate::monitoring::trace;
use reqwest::{
    Client, Request, RequestBuilder, Response,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use tracing::{Instrument, Span, field::Empty};

/// What a signature is called in queries and in the header `Authorization`.
const SIGNATURES: [&str; 2] = ["signature=", "sig="];

/// Sends a request as [`RequestBuilder::send`] does.
pub(crate) async fn send(request: RequestBuilder) -> reqwest::Result<Response> {
    let (client, request) = request.build_split();
    execute(&client, request?, 0).await
}

/// Sends a request as [`Client::execute`] does. `resends` is how often it was sent before.
pub(crate) async fn execute(
    client: &Client,
    mut request: Request,
    resends: u32,
) -> reqwest::Result<Response> {
    if trace::current().is_none() {
        return client.execute(request).await;
    }
    let span = of_request(&request, resends);
    if !is_signed(&request) {
        trace::hand_on(&span, |name, value| set_header(&mut request, name, value));
    }
    let sent = client.execute(request).instrument(span.clone()).await;
    note_result(&span, &sent);
    sent
}

/// Returns a span below the current one. Those that are not in the trace are passed over.
fn of_request(request: &Request, resends: u32) -> Span {
    let (method, url) = (request.method().as_str(), request.url());
    tracing::debug_span!(
        target: trace::TARGET,
        "request",
        "otel.name" = method,
        "otel.kind" = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "http.request.method" = method,
        "http.request.resend_count" = (resends > 0).then_some(i64::from(resends)),
        "http.response.status_code" = Empty,
        "server.address" = url.host_str(),
        "server.port" = url.port_or_known_default().map(i64::from),
        "url.full" = redacted_url(url),
    )
}

fn note_result(span: &Span, sent: &reqwest::Result<Response>) {
    match sent {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", i64::from(status.as_u16()));
            if status.is_client_error() || status.is_server_error() {
                trace::fail(span, status.as_str());
            }
        }
        Err(error) if error.is_timeout() => trace::fail(span, "timeout"),
        Err(error) if error.is_connect() => trace::fail(span, "connection"),
        Err(_) => trace::fail(span, "_OTHER"),
    }
}

/// A header that the module has set stays as it is.
fn set_header(request: &mut Request, name: &str, value: String) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        request.headers_mut().entry(name).or_insert(value);
    }
}

/// Returns whether a request may be signed. Some servers refuse it if it has a header that the signature does not know.
fn is_signed(request: &Request) -> bool {
    let has_signature = |text: &str| {
        let text = text.to_ascii_lowercase();
        SIGNATURES.iter().any(|signature| text.contains(signature))
    };
    let headers = request.headers();
    let authorization = headers.get(AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    headers
        .keys()
        .any(|name| name.as_str().contains("signature"))
        || authorization.is_some_and(has_signature)
        || request.url().query().is_some_and(has_signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::{Method, Url};

    #[test]
    fn a_signed_request_is_recognized() {
        let aws = "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b";
        for (header, value, query, signed) in [
            ("accept", "*/*", "", false),
            ("authorization", "Bearer c2lnPQ", "?significant=1", false),
            ("authorization", aws, "", true),
            ("authorization", "OAuth oauth_signature=\"x\"", "", true),
            ("signature-input", "sig1=()", "", true),
            ("x-hub-signature-256", "sha256=x", "", true),
            ("accept", "*/*", "?X-Amz-Signature=x", true),
            ("accept", "*/*", "?sv=1&sig=x", true),
        ] {
            let url = Url::parse(&format!("https://api.example/{query}")).unwrap();
            let mut request = Request::new(Method::GET, url);
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(header, value);
            assert_eq!(is_signed(&request), signed, "{header}: {query}");
        }
    }
}
