//! Messages as JavaScript and PHP write them: halves of surrogate pairs, and attachments in odd shapes.

use super::*;

impl Rig {
    /// Delivers a message whose JSON is this text.
    fn deliver_text(&self, text: &str) -> u64 {
        let body = self.cipher.encrypt(text.into(), Encoding::Raw);
        self.broker.deliver(headers(text), body.into())
    }

    /// Confirms the next data event, and returns the text of its message.
    async fn confirm_text(&mut self) -> String {
        let published = self.broker.published().await;
        let plain = self.cipher.decrypt(&published.event().body, Encoding::Raw);
        assert_eq!(published.event().route, Route::Data);
        published.confirm();
        String::from_utf8(plain.unwrap()).unwrap()
    }
}

/// A module that emits the message that it gets.
async fn forward(message: Message<Value>, cx: Context) -> anyhow::Result<()> {
    cx.message(message).await
}

#[tokio::test(start_paused = true)]
async fn half_a_surrogate_pair_that_nobody_reads_stays() {
    let mut rig = Rig::start(acts(forward)).await;
    // `JSON.stringify("party 😀".slice(0, 7))`, and halves in other places.
    for (member, name) in [
        (r#""party \ud83d""#, "attachments"),
        (
            r#"{"\ud83d.txt":{"url":"u","size":"9"},"\ud83e.txt":[]}"#,
            "attachments",
        ),
        (
            r#"{"step_1":{"headers":{"a":"\ud83d"},"body":{"\ude00":["\ud83d"]}}}"#,
            "passthrough",
        ),
        (
            r#"{"\ud83d":{"body":"\ud83d","headers":{"x-ipaas":1}}}"#,
            "passthrough",
        ),
        (r#"["\ude00\ud83d",{"\ud83d\ude00\ud83d":1.0}]"#, "metadata"),
        ("1", r"party \ud83d"),
    ] {
        let text = format!(r#"{{"id":"1","headers":{{}},"body":{{}},"{name}":{member}}}"#);
        let delivery = rig.deliver_text(&text);
        assert_eq!(rig.confirm_text().await, text);
        rig.assert_settled(delivery, Verdict::Acknowledged).await;
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn half_a_surrogate_pair_is_read_as_the_replacement() {
    let mut rig = Rig::start(acts(|message, cx| async move {
        let names = message.attachments.iter().map(|file| Ok(file?.0));
        let names = names.collect::<anyhow::Result<Vec<_>>>()?;
        let earlier = message.passthrough::<Value>("step_1").await?;
        let earlier = earlier.map(|earlier| json!([earlier.headers, earlier.body]));
        cx.data(&json!([
            message.headers,
            message.body,
            message.query,
            names,
            earlier
        ]))
        .await
    }))
    .await;
    let half = r#"{"party \ud83d":["\ude00",{"a":"\ud83d\ud83d"}]}"#;
    let delivery = rig.deliver_text(&format!(
        r#"{{"headers":{half},"body":{half},"query":{half},"attachments":{{"\ud83d.txt":{{"url":"\ud83d"}}}},
            "passthrough":{{"step_1":{{"headers":{half},"body":{half}}}}}}}"#
    ));
    let read = json!({ "party \u{fffd}": ["\u{fffd}", { "a": "\u{fffd}\u{fffd}" }] });
    assert_eq!(
        rig.confirm(Route::Data).await,
        json!([read, read, read, ["\u{fffd}.txt"], [read, read]])
    );
    rig.assert_settled(delivery, Verdict::Acknowledged).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attachments_of_any_shape_reach_the_module_and_go_on() {
    let mut rig = Rig::start(acts(forward)).await;
    for attachments in [
        // As the platform's guide shows them.
        r#"{"a.csv":{"url":"u","size":"9","content-type":"text/csv"}}"#,
        r#"{"a":{"url":"u","size":9.0},"b":{"url":"u","size":""},"c":{"url":"u","size":null}}"#,
        r#"{"a":{"contentType":"text/csv","content-type":null},"b":null,"c":7,"d":[]}"#,
        "[]",
        "null",
        r#""none""#,
        "[{\"url\":\"u\"}]",
    ] {
        let text =
            format!(r#"{{"id":"1","headers":{{}},"body":{{}},"attachments":{attachments}}}"#);
        let delivery = rig.deliver_text(&text);
        assert_eq!(rig.confirm_text().await, text);
        rig.assert_settled(delivery, Verdict::Acknowledged).await;
    }
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_earlier_message_may_have_a_list_as_headers() {
    let mut rig = Rig::start(acts(|message, cx| async move {
        let earlier = message.passthrough::<Value>("step_1").await?;
        let earlier = earlier.map(|earlier| json!([earlier.headers, earlier.body]));
        cx.data(&json!(earlier)).await
    }))
    .await;
    for headers in ["[]", "null", r#""""#] {
        let entry = format!(r#"{{"headers":{headers},"body":7}}"#);
        rig.deliver_text(&format!(
            r#"{{"body":{{}},"passthrough":{{"step_1":{entry}}}}}"#
        ));
        assert_eq!(rig.confirm(Route::Data).await, json!([{}, 7]), "{headers}");
        let (_, verdict) = rig.broker.settled().await;
        assert_eq!(verdict, Verdict::Acknowledged);
    }
    rig.stop().await.unwrap();
}
