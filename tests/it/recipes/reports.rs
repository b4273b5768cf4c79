use anyhow::Context as _;
use sailor::{prelude::*, reqwest::multipart::{Form, Part}};
use serde_json::{Value, json};

async fn send_report(message: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    let file = message.attachments.get("report.pdf")?.context("the message has no report.pdf")?;
    let bytes = cx.attachments()?.download(&file.url).await?.bytes().await?;
    let form = move || {
        let part = Part::stream(bytes.clone()).file_name("report.pdf");
        Form::new().text("title", "Report").part("file", part)
    };
    let created: Value = cx.oauth().post("/uploads").multipart(form).send_json().await?;
    cx.data(&created).await
}

async fn fetch_report(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    let response = cx.oauth().get("/reports/7").send().await?;
    let stored = cx.attachments()?.upload(response, "application/pdf").await?;
    cx.message(Message::new(json!({})).with_attachment("report.pdf", stored.into())).await
}
