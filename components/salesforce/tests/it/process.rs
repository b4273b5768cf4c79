//! The functions in a process.

use crate::rig::process::Deployed;
use emulator::{EventKind, provider::Provider};
use salesforce_standin::Fault;
use serde_json::json;
use test_rig::{bodies, soon};

#[tokio::test]
async fn a_poll_saves_refreshed_tokens_and_its_snapshot() {
    let fields = json!({ "sobject": "Account", "selectedFields": ["Name"] });
    let deployed = Deployed::new("getUpdatedObjectsPolling", fields, Provider::issue_expired).await;
    for name in ["Acme, confidential", "Bolt, confidential"] {
        deployed.api.insert("Account", json!({ "Name": name }));
    }
    deployed.api.pass(1);
    let component = deployed.start();
    deployed.send(json!({}));
    let data = deployed.events(EventKind::Data, 2).await;
    assert_eq!(bodies(&data)[1]["Name"], "Bolt, confidential");
    deployed.events(EventKind::Snapshot, 1).await;
    assert_eq!(
        deployed.step().snapshot["lastSeenId"],
        bodies(&data)[1]["Id"]
    );
    assert_eq!(deployed.provider().refreshes(), 1);
    assert!(deployed.has_spendable_token());
    assert!(deployed.has_valid_token());

    deployed.api.insert("Account", json!({ "Name": "Cog" }));
    deployed.api.pass(1);
    deployed.send(json!({}));
    let data = deployed.events(EventKind::Data, 3).await;
    assert_eq!((data.len(), &bodies(&data)[2]["Name"]), (3, &json!("Cog")));
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn many_messages_with_an_expired_token_share_one_refresh() {
    let deployed = Deployed::new(
        "create",
        json!({ "sobject": "Account" }),
        Provider::issue_expired,
    )
    .await;
    for n in 0..20 {
        deployed.send(json!({ "Name": format!("confidential {n}") }));
    }
    let component = deployed.start();
    let data = deployed.events(EventKind::Data, 20).await;
    assert_eq!((data.len(), deployed.provider().refreshes()), (20, 1));
    assert_eq!(deployed.api.records("Account").len(), 20);
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn a_second_refresh_keeps_the_refresh_token() {
    let deployed = Deployed::new("rawRequest", json!({}), Provider::issue_expired).await;
    let component = deployed.start();
    let refresh_token = deployed.stored_tokens()["refresh_token"].clone();
    for refreshes in 1..=3 {
        deployed.send(json!({ "method": "GET", "path": "limits" }));
        deployed.events(EventKind::Data, refreshes).await;
        assert_eq!(deployed.provider().refreshes(), refreshes);
        assert_eq!(deployed.stored_tokens()["refresh_token"], refresh_token);
        deployed.provider().expire_access_tokens();
    }
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn a_failure_does_not_log_message_contents() {
    let deployed = Deployed::new("query", json!({}), Provider::issue).await;
    let component = deployed.start();
    deployed.send(json!({ "query": "SELECT Confidential__c FROM Account" }));
    let errors = deployed.events(EventKind::Error, 1).await;
    // The error event has them, for the user.
    assert!(
        errors[0].body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Confidential__c")
    );
    deployed.stop(component, &["Confidential__c"]).await;
}

#[tokio::test]
async fn a_reached_limit_rebounds_and_the_work_is_done_once() {
    let deployed = Deployed::new("create", json!({ "sobject": "Account" }), Provider::issue).await;
    deployed.api.inject_faults(
        "POST",
        [Fault::Error(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
        )],
    );
    let component = deployed.start();
    deployed.send(json!({ "Name": "Acme" }));
    deployed.events(EventKind::Rebound, 1).await;
    deployed.events(EventKind::Data, 1).await;
    assert_eq!(
        (
            deployed.api.records("Account").len(),
            deployed.errors().len()
        ),
        (1, 0)
    );
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn a_stored_file_is_the_input_of_a_bulk_job() {
    let fields = json!({ "operation": "insert", "sobject": "Account" });
    let deployed = Deployed::new("bulk_cud", fields, Provider::issue_expired).await;
    deployed.api.set_job_pace(1);
    let platform = deployed.emulator.platform();
    platform.set_object(
        "rows",
        "Name,NumberOfEmployees\nAcme confidential,5\nBolt confidential,many\n",
    );
    let url = format!("{}/objects/rows?storage_type=maester", platform.url());
    let attachments = json!({ "rows.csv": { "url": url, "content-type": "text/csv" } });
    let component = deployed.start();
    deployed.send_message(json!({ "headers": {}, "body": {}, "attachments": attachments }));
    let data = deployed.events(EventKind::Data, 1).await;
    let result = &bodies(&data)[0]["result"];
    assert_eq!(
        (&result[0]["success"], &result[1]["success"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (
            deployed.api.records("Account").len(),
            deployed.provider().refreshes()
        ),
        (1, 1)
    );
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn a_stop_during_a_bulk_job_does_not_repeat_its_rows() {
    for (operation, rejected, limit) in [("insert", true, "25"), ("upsert", false, "1")] {
        let fields = json!({ "operation": operation, "sobject": "Account" });
        let deployed = Deployed::new("bulk_cud", fields, Provider::issue).await;
        let deployed = deployed.variable("ELASTICIO_SHUTDOWN_TIMEOUT", limit);
        deployed.api.set_job_pace(1000);
        let platform = deployed.emulator.platform();
        platform.set_object("rows", "Name,ErpId__c\nAcme,1\n");
        let url = format!("{}/objects/rows?storage_type=maester", platform.url());
        let component = deployed.start();
        deployed.send(json!({ "attachmentUrl": url, "extIdField": "ErpId__c" }));
        // The job is created, filled, started and checked.
        soon("a call reads a job", deployed.provider().api_called(4)).await;
        deployed.stop(component, &[]).await;
        let errors = deployed.errors();
        assert_eq!(
            errors.len(),
            usize::from(rejected),
            "{operation}: {errors:?}"
        );
        assert!(
            errors
                .iter()
                .all(|error| error.contains("goes on at Salesforce")),
            "{errors:?}"
        );
        let left = deployed.left_in_queue();
        assert_eq!(left, usize::from(!rejected), "{operation}");
    }
}

#[tokio::test]
async fn a_bulk_query_result_is_stored_as_a_file() {
    let deployed = Deployed::new("bulk_q", json!({}), Provider::issue_expired).await;
    for n in 0..5 {
        deployed
            .api
            .insert("Account", json!({ "Name": format!("confidential {n}") }));
    }
    deployed.api.set_page_size(2);
    let component = deployed.start();
    deployed.send(json!({ "query": "SELECT Name FROM Account" }));
    let data = deployed.events(EventKind::Data, 1).await;
    let platform = deployed.emulator.platform();
    let [id] = &platform.object_ids()[..] else {
        panic!("{:?}", platform.object_ids())
    };
    let file = String::from_utf8(platform.object(id).unwrap().to_vec()).unwrap();
    let names: Vec<&str> = file
        .lines()
        .skip(1)
        .map(|line| line.trim_matches('"'))
        .collect();
    assert_eq!(
        names,
        (0..5)
            .map(|n| format!("confidential {n}"))
            .collect::<Vec<_>>()
    );
    let attachment = &data[0].body["attachments"]["bulk_query.csv"];
    assert!(
        attachment["url"].as_str().unwrap().contains(id.as_str()),
        "{attachment}"
    );
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn upsert_finds_the_id_with_an_old_api_version() {
    let fields =
        json!({ "sobject": "Account", "typeOfSearch": "externalIds", "lookupField": "ErpId__c" });
    let deployed = Deployed::new("upsert", fields, Provider::issue).await;
    let deployed = deployed.variable("SALESFORCE_API_VERSION", "v45.0");
    let id = deployed
        .api
        .insert("Account", json!({ "Name": "Old", "ErpId__c": "1" }));
    let component = deployed.start();
    deployed.send(json!({ "ErpId__c": "1", "Name": "New" }));
    let data = deployed.events(EventKind::Data, 1).await;
    assert_eq!(
        bodies(&data)[0],
        &json!({ "id": id, "success": true, "created": false, "errors": [] })
    );
    assert!(
        deployed
            .api
            .calls()
            .iter()
            .all(|call| call.path.starts_with("/services/data/v45.0/"))
    );
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn an_invalid_api_version_fails_the_start() {
    let deployed = Deployed::new("upsert", json!({}), Provider::issue).await;
    let deployed = deployed.variable("SALESFORCE_API_VERSION", "latest");
    let ended = deployed.run().await;
    let text = ended.output();
    assert!(
        ended.status != 0 && text.contains("SALESFORCE_API_VERSION"),
        "{text}"
    );
}
