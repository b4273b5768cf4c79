//! How each fault is done.

use crate::{
    broker::OWN_CONNECTION,
    fault::{Fault, Service},
    queues::INPUT,
    relay::{Relay, Towards, Traffic},
    signal::Signal,
    stage::{ACCOUNT, Run},
    work::Work,
};
use anyhow::ensure;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two faults of the same kind.
const GAP: Duration = Duration::from_secs(1);
/// The time limit for a step that starts to have a consumer.
const RESTART: Duration = Duration::from_secs(60);
/// Messages for a queue that is new.
const NEW: u64 = 500;

/// Does what has to be done before the step starts.
///
/// # Errors
/// When the broker does not do what it is told to.
pub async fn prepare(fault: &Fault, run: &Run<'_>) -> anyhow::Result<()> {
    match fault {
        Fault::DeliveryTimeout(timeout) => limit_deliveries(run, *timeout, GAP / 2).await,
        _ => Ok(()),
    }
}

/// Does what the fault says, while the step runs. Returns how many faults that were.
///
/// # Errors
/// When the broker does not do what it is told to.
pub async fn carry_out(fault: &Fault, run: &mut Run<'_>) -> anyhow::Result<usize> {
    sleep(GAP / 2).await;
    match fault {
        Fault::Close(times) => close(run, *times).await?,
        Fault::Stall(duration) => hold(&run.amqp, Traffic::Stalls, *duration).await,
        Fault::Tear(times) => tear(run, *times).await,
        Fault::StopApp(times, duration) => stop_app(run, *times, *duration).await?,
        Fault::KillNode(times) => kill_node(run, *times).await?,
        Fault::DeleteQueue(duration) => delete_queue(run, *duration).await?,
        Fault::Cancel(times) => cancel(run, *times).await?,
        Fault::Crash(times) => crash(run, *times).await?,
        Fault::FullOutput(duration) => {
            sleep(*duration).await;
            run.watch.read_output();
        }
        Fault::Alarm(duration) => alarm(run, *duration).await?,
        Fault::DeliveryTimeout(_) => delivery_timeout(run).await?,
        Fault::Kill(times) => signals(run, Signal::KILL, *times).await?,
        Fault::KillWorking(times) => kill_working(run, *times).await?,
        Fault::Terminate(times) => signals(run, Signal::TERM, *times).await?,
        Fault::Freeze(duration) => freeze(run, *duration).await?,
        Fault::Service(service, traffic, duration) => {
            outage(run, *service, *traffic, *duration).await;
        }
        Fault::KillOneOfThree(times) => kill_one_of_three(run, *times).await?,
        Fault::TooLarge => {}
        Fault::All(faults) => {
            for fault in faults {
                Box::pin(carry_out(fault, run)).await?;
            }
        }
    }
    Ok(fault.times())
}

/// A command takes longer than a second to start, so one of them closes connections again and again.
async fn close(run: &Run<'_>, times: usize) -> anyhow::Result<()> {
    let expression = format!(
        r#"Others = fun(Pid) -> case catch rabbit_networking:connection_info(Pid, [client_properties]) of
             [{{client_properties, Ps}}] when is_list(Ps) -> lists:keyfind(<<"connection_name">>, 1, Ps) =/= {{<<"connection_name">>, longstr, <<"{OWN_CONNECTION}">>}};
             _ -> false end end,
           [begin [catch rabbit_networking:close_connection(Pid, "a fault") || Pid <- rabbit_networking:connections(), Others(Pid)],
             timer:sleep({}) end || _ <- lists:seq(1, {times})], ok."#,
        GAP.as_millis()
    );
    run.stage.broker.evaluate(&expression).await.map(drop)
}

async fn hold(relay: &Relay, traffic: Traffic, duration: Duration) {
    relay.set(traffic);
    sleep(duration).await;
    relay.set(Traffic::Flows);
}

async fn tear(run: &Run<'_>, times: usize) {
    // In a frame's head, in its payload, and further on.
    let places = [3, 9, 40, 1_000];
    for number in 0..times {
        let towards = if number % 2 == 0 {
            Towards::Client
        } else {
            Towards::Server
        };
        run.amqp.tear(towards, places[number % places.len()]);
        sleep(GAP * 7 / 10).await;
    }
}

async fn stop_app(run: &Run<'_>, times: usize, duration: Duration) -> anyhow::Result<()> {
    for _ in 0..times {
        run.stage.broker.control(&["stop_app"]).await?;
        sleep(duration).await;
        run.stage.broker.control(&["start_app"]).await?;
        sleep(2 * GAP).await;
    }
    Ok(())
}

async fn kill_node(run: &mut Run<'_>, times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        run.stage.broker.kill_node(0).await?;
        sleep(2 * GAP).await;
        run.stage.broker.start_node(0).await?;
        sleep(2 * GAP).await;
    }
    Ok(())
}

async fn kill_one_of_three(run: &mut Run<'_>, times: usize) -> anyhow::Result<()> {
    let nodes = run.stage.broker.ports().len();
    for number in 0..times {
        let node = number % nodes;
        run.stage.broker.kill_node(node).await?;
        sleep(10 * GAP).await;
        run.stage.broker.start_node(node).await?;
        if number + 1 < times {
            sleep(45 * GAP).await;
        }
    }
    Ok(())
}

/// Messages that were ready in the queue are gone with it: they do not count. Those that were running do.
async fn delete_queue(run: &mut Run<'_>, duration: Duration) -> anyhow::Result<()> {
    let queues = run.stage.queues().await?;
    let deleted = queues.delete(INPUT).await?;
    ensure!(deleted > 0, "the queue was empty already");
    run.messages -= deleted;
    sleep(duration).await;
    queues.declare(INPUT, Vec::new()).await?;
    Work::Echo(5).send(run, NEW).await
}

/// The queue drops its consumers, and tells them so.
async fn cancel(run: &Run<'_>, times: usize) -> anyhow::Result<()> {
    let each = r#"[gen_server2:call(amqqueue:get_pid(Q), {basic_cancel, element(1, C), element(2, C),
        {'basic.cancel', element(2, C), true}, <<"faults">>}, infinity) || C <- rabbit_amqqueue:consumers(Q)]"#;
    for_the_queue(run, times, each).await
}

async fn crash(run: &Run<'_>, times: usize) -> anyhow::Result<()> {
    for_the_queue(run, times, "exit(amqqueue:get_pid(Q), kill)").await
}

/// Evaluates an Erlang expression with `Q`, the input queue. If it finds nothing, such as a consumer, because the step is
/// starting, it is evaluated again. If the step does not consume again, no more faults are ordered: its messages hang.
async fn for_the_queue(run: &Run<'_>, times: usize, expression: &str) -> anyhow::Result<()> {
    let find = format!(
        "Q <- rabbit_amqqueue:list(), element(4, amqqueue:get_name(Q)) =:= <<\"{INPUT}\">>"
    );
    let expression = format!("lists:flatten([{expression} || {find}]) =/= [].");
    for _ in 0..times {
        let start = Instant::now();
        while run.stage.broker.evaluate(&expression).await?.trim() != "true" {
            if start.elapsed() > RESTART {
                return Ok(());
            }
            sleep(GAP / 10).await;
        }
        sleep(GAP).await;
    }
    Ok(())
}

async fn alarm(run: &Run<'_>, duration: Duration) -> anyhow::Result<()> {
    let set = async |limit| {
        let broker = &run.stage.broker;
        broker
            .control(&["set_vm_memory_high_watermark", limit])
            .await
    };
    set("0.00001").await?;
    sleep(duration).await;
    set("0.4").await.map(drop)
}

/// The limit holds until the messages are done.
async fn delivery_timeout(run: &Run<'_>) -> anyhow::Result<()> {
    run.wait(Duration::from_secs(60)).await;
    let happened = run.stage.broker.has_logged("timed out")?;
    ensure!(happened, "no message was unsettled for too long");
    limit_deliveries(run, Duration::from_secs(1_800), Duration::from_secs(60)).await
}

/// Sets how long a message may be unsettled, and how often the broker looks. A channel reads this when it is opened.
async fn limit_deliveries(run: &Run<'_>, timeout: Duration, tick: Duration) -> anyhow::Result<()> {
    let expression = format!(
        "application:set_env(rabbit, consumer_timeout, {}), application:set_env(rabbit, channel_tick_interval, {}).",
        timeout.as_millis(),
        tick.as_millis()
    );
    run.stage.broker.evaluate(&expression).await.map(drop)
}

async fn signals(run: &Run<'_>, signal: Signal, times: usize) -> anyhow::Result<()> {
    for number in 0..times {
        let replica = &run.replicas[number % run.replicas.len()];
        ensure!(
            replica.signal(signal),
            "no process runs that could get {signal:?}"
        );
        sleep(GAP).await;
        // A process that stops takes its time, and so does the next one.
        while replica.id().is_none() {
            sleep(GAP / 20).await;
        }
    }
    Ok(())
}

async fn kill_working(run: &Run<'_>, times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        run.consumed_by(1).await?;
        sleep(GAP / 2).await;
        signals(run, Signal::KILL, 1).await?;
    }
    Ok(())
}

async fn freeze(run: &Run<'_>, duration: Duration) -> anyhow::Result<()> {
    let replica = &run.replicas[0];
    ensure!(
        replica.signal(Signal::STOP),
        "no process runs that could be stopped"
    );
    sleep(duration).await;
    ensure!(
        replica.signal(Signal::CONT),
        "the process has ended while it was stopped"
    );
    Ok(())
}

async fn outage(run: &Run<'_>, service: Service, traffic: Traffic, duration: Duration) {
    let relay = match service {
        Service::Api => &run.api,
        Service::Storage => &run.storage,
        Service::Tokens => &run.tokens,
    };
    if service == Service::Tokens {
        // The account's access token is no longer valid, so the first request needs the endpoint.
        debug_assert!(run.platform.account(ACCOUNT).is_some());
        run.provider.expire_access_tokens();
    }
    hold(relay, traffic, duration).await;
}
