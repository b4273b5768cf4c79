//! A. Basics and merging.

use super::rig::Rig;
use emulator::provider::Knobs;
use sailor::oauth2::{Error, Mode};

#[tokio::test]
async fn case_01_a_valid_token_is_used_without_asking_the_token_endpoint() {
    let rig = Rig::new(Knobs::default()).await;
    let replica = rig.replica();
    for _ in 0..10 {
        replica.get().await.unwrap();
    }
    assert_eq!((rig.provider.token_calls().len(), rig.provider.api_calls().len()), (0, 10));
}

#[tokio::test]
async fn case_02_each_access_refreshes_with_the_token_that_the_one_before_brought() {
    let mut rig = Rig::new(Knobs::rotating()).await;
    rig.mode = Some(Mode::EveryAccess);
    let replica = rig.replica();
    for _ in 0..3 {
        replica.get().await.unwrap();
    }
    let spent = rig.provider.token_calls().iter().map(|call| call.form["refresh_token"].clone()).collect::<Vec<_>>();
    let saved = rig.account.saved.lock().unwrap().iter().map(|keys| keys["oauth"].clone()).collect::<Vec<_>>();
    assert_eq!(spent.len(), 3);
    assert_eq!(
        (&spent[1], &spent[2]),
        (
            &saved[0]["refresh_token"].as_str().unwrap().to_owned(),
            &saved[1]["refresh_token"].as_str().unwrap().to_owned()
        )
    );
}

#[tokio::test]
async fn case_03_an_expired_token_is_refreshed_before_the_first_request() {
    let rig = Rig::expired(Knobs::default()).await;
    rig.replica().get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
    let statuses = rig.provider.api_calls().iter().map(|call| call.status).collect::<Vec<_>>();
    assert_eq!(statuses, [Some(200)]);
}

#[tokio::test]
async fn case_10_without_a_refresh_token_an_expired_token_asks_for_the_user_and_any_other_is_used() {
    let rig = Rig::expired(Knobs { issue_refresh_token: false, ..Knobs::default() }).await;
    let error = rig.replica().get().await.unwrap_err();
    assert!(matches!(error, Error::ReauthRequired(_)), "{error}");
    assert!(rig.provider.token_calls().is_empty());

    let rig = Rig::new(Knobs { issue_refresh_token: false, ..Knobs::default() }).await;
    rig.replica().get().await.unwrap();
    assert!(rig.provider.token_calls().is_empty());
}
