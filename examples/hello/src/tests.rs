use sailor::testing::{Harness, Verdict};
use serde_json::{Value, json};

#[tokio::test]
async fn a_person_is_greeted() {
    let component = super::component().unwrap();
    let harness = Harness::new(&component, "greet").config(json!({ "greeting": "Hello" }));
    let emitted = harness.run(json!({ "name": "Ada" })).await.unwrap();
    assert_eq!(emitted.data::<Value>(), [json!({ "text": "Hello, Ada!" })]);
    assert_eq!(emitted.verdict, Verdict::Acknowledged);
}
