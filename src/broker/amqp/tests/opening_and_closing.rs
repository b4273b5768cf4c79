//! Connecting and closing.

use super::{
    super::simulated::{SimulatedBroker, Simulation},
    *,
};

#[tokio::test]
async fn pending_events_fail_on_close() {
    let world = World::with_out_arguments(full_after_one()).await;
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let confirms: HashMap<_, _> = (2..10)
        .map(|n| (n, amqp.publish(event(&n.to_string()))))
        .collect();
    soon("closing", amqp.close()).await;
    for (n, confirm) in confirms {
        let error = soon("the error", confirm).await.unwrap_err();
        assert!(error.reason.contains("closed on shutdown"), "{n}: {error}");
    }
    soon("the error", amqp.publish(event("late")))
        .await
        .unwrap_err();
}

/// An event that is retried holds what it belongs to, the adapter included.
#[tokio::test]
async fn disconnecting_ends_what_is_retried() {
    let world = World::with_out_arguments(full_after_one()).await;
    let amqp = Arc::new(world.connect().await);
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let (ended, result) = tokio::sync::oneshot::channel();
    let held = amqp.clone();
    let confirm = ConfirmSender::calling(move |result| {
        drop(held);
        ended.send(result).unwrap();
    });
    amqp.publish_to(event("2"), confirm);
    amqp.disconnect();
    let dropped = Arc::downgrade(&amqp);
    drop(amqp);
    let error = soon("the end", result).await.unwrap().unwrap_err();
    assert_eq!(error.kind, PublishErrorKind::Closed, "{error}");
    assert!(dropped.upgrade().is_none());
}

#[tokio::test]
async fn a_panic_of_the_publishing_task_ends_the_process() {
    let (fatal, mut told) = watch::channel(None);
    panic_is_fatal(async { panic!("a bug") }, fatal).await;
    let error = told.wait_for(Option::is_some).await.unwrap().clone();
    assert!(error.unwrap().to_string().contains("panic"));
}

#[tokio::test]
async fn a_panic_of_the_consuming_task_ends_the_process() {
    let (sender, mut deliveries) = mpsc::unbounded_channel();
    let stopped = CancellationToken::new();
    let task_stopped = stopped.clone();
    let consuming = tokio::spawn(async move {
        let _deliveries = DeliverySender {
            sender,
            stopped: task_stopped,
        };
        panic!("a bug");
    });
    assert!(consuming.await.unwrap_err().is_panic());
    let error = deliveries.recv().await.unwrap().err().unwrap();
    assert!(error.to_string().contains("panic"));
    assert!(deliveries.recv().await.is_none() && stopped.is_cancelled());
}

#[tokio::test]
async fn closing_with_a_silent_broker_is_bounded() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.relay.silence();
    let confirm = amqp.publish(event("1"));
    let start = Instant::now();
    amqp.close().await;
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    soon("the error", confirm).await.unwrap_err();
    assert!(soon("the end", deliveries.recv()).await.is_none());
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_the_password() {
    let mut world = World::new().await;
    world.settings.uri = SecretString::from(format!(
        "amqp://guest:s3cret@127.0.0.1:{}",
        world.relay.port
    ));
    let error = Amqp::connect(&world.settings, Arc::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("127.0.0.1") && error.contains("ELASTICIO_AMQP_URI"),
        "{error}"
    );
    assert!(
        error.contains("403") && !error.contains("s3cret"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_virtual_host_is_an_error_that_says_what_to_check() {
    let mut world = World::new().await;
    let good = world.settings.uri.expose_secret();
    let (server, _) = good.rsplit_once('/').unwrap();
    let uri = format!("{server}/missing");
    world.settings.uri = SecretString::from(uri);
    let error = Amqp::connect(&world.settings, Arc::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("virtual host"), "{error}");
}

#[tokio::test]
async fn connect_attempts_follow_the_settings() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut world = World::new().await;
    world.settings.uri = SecretString::from(format!("amqp://guest:s3cret@127.0.0.1:{closed}"));
    let error = Amqp::connect(&world.settings, Arc::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("127.0.0.1:{closed}")) && error.contains("3 attempts"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn connecting_to_a_silent_broker_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::new().await;
    world.settings.connect_retries = 0;
    let uri = format!(
        "amqp://127.0.0.1:{}?connection_timeout=200",
        silent.local_addr().unwrap().port()
    );
    world.settings.uri = SecretString::from(uri);
    let error = soon("the error", Amqp::connect(&world.settings, Arc::default()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no response within 0.2 s"), "{error}");
}

#[tokio::test]
async fn consuming_from_a_silent_broker_is_tried_again() {
    let world = World::new().await;
    let amqp = world.connect().await;
    world.relay.silence();
    // The paused clock moves on to the end of the time limit.
    tokio::time::pause();
    let mut deliveries = amqp.consume().await.unwrap();
    tokio::time::resume();
    world.relay.cut();
    world.put(BasicProperties::default(), b"1").await;
    assert_eq!(next(&mut deliveries).await.body.as_ref(), b"1");
    amqp.close().await;
}

#[tokio::test]
async fn stopping_with_a_silent_broker_is_bounded() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.relay.silence();
    let start = Instant::now();
    amqp.stop_consuming().await;
    assert!(start.elapsed() < RESPONSE_TIMEOUT, "{:?}", start.elapsed());
    assert!(soon("the end", deliveries.recv()).await.is_none());
    amqp.close().await;
}

/// A broker that starts can close a new connection before anything is opened on it.
#[tokio::test(start_paused = true)]
async fn a_first_channel_that_is_lost_is_opened_again() {
    let broker = SimulatedBroker::new(1, usize::MAX, None, |_| {});
    let _simulation = Simulation::of(broker.clone());
    let uri = "amqp://user@simulated".parse().unwrap();
    let settings = settings(&uri, 1, "queue", "exchange");
    let cutting = async {
        while broker.cut(|_, name| name.ends_with("write"), 0) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let (connected, ()) = tokio::join!(Amqp::connect(&settings, Arc::default()), cutting);
    let amqp = connected.unwrap();
    amqp.close().await;
}
