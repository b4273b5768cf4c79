//! What is published: the broker gets the contents of each message in place of its ticket, and everything around it unchanged.

use super::*;
use bytes::Bytes;
use futures_io::AsyncWrite;
use lapin::BasicProperties;
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// A connection that takes pieces of these sizes, again and again. At a size of 0 it takes nothing yet.
pub(super) struct Takes {
    pub(super) taken: Vec<u8>,
    sizes: Vec<usize>,
    at: usize,
    /// Waits until it takes something.
    waker: Option<Waker>,
}

impl Takes {
    pub(super) fn new(sizes: &[usize]) -> Self {
        Self {
            taken: vec![],
            sizes: sizes.to_vec(),
            at: 0,
            waker: None,
        }
    }

    /// Takes everything at once.
    pub(super) fn all() -> Self {
        Self::new(&[usize::MAX])
    }
}

impl AsyncRead for Takes {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Takes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.at += 1;
        let count = self.sizes[self.at % self.sizes.len()].min(bytes.len());
        if count == 0 {
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.as_mut().poll_write(cx, &all)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What the broker gets of bytes that the client writes in pieces of `most` bytes. The broker offers frames of up to
/// `offered` bytes.
fn written(
    bytes: &[u8],
    most: usize,
    sizes: &[usize],
    outbox: Option<Arc<Outbox>>,
    offered: u32,
) -> io::Result<Vec<u8>> {
    let takes = Takes::new(sizes);
    let around = Around {
        outbox,
        deliveries: None,
    };
    let mut stream = GuardedStream::new(takes, SHORT_FRAME).with(131_072, around);
    stream.frames.space()[..20].copy_from_slice(&tune(10, 30, offered));
    stream.frames.filled(20);
    let mut stream = Pin::new(&mut stream);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for mut piece in bytes.chunks(most) {
        while !piece.is_empty() {
            if let Poll::Ready(count) = stream.as_mut().poll_write(&mut cx, piece) {
                piece = &piece[count?..];
            }
        }
    }
    while stream.as_mut().poll_flush(&mut cx)?.is_pending() {}
    Ok(stream.stream.taken.clone())
}

/// `connection.tune` or `connection.tune-ok`.
fn tune(class: u8, method: u8, frame_max: u32) -> Vec<u8> {
    let longest = frame_max.to_be_bytes();
    let mut tune = frame(
        1,
        &[&[0, class, 0, method, 0, 9], longest.as_slice(), &[0, 60]].concat(),
    );
    tune[2] = 0;
    tune
}

fn bytes_of(frame: &AMQPFrame) -> Vec<u8> {
    let mut room = vec![0; 1 << 20];
    let written = gen_frame(frame)(room.as_mut_slice().into()).unwrap();
    let length = written.into_inner().1;
    room.truncate(length as usize);
    room
}

fn properties_with(id: usize) -> BasicProperties {
    // Longer than a frame of the client, if the id is odd.
    let mut headers = FieldTable::default();
    let text = "v".repeat(id % 2 * 5000);
    headers.insert("long".into(), AMQPValue::LongString(text.as_str().into()));
    BasicProperties::default()
        .with_headers(headers)
        .with_message_id(id.to_string().as_str().into())
}

/// The frames of a message with a body of `size` bytes; the body itself is not among them.
fn message(properties: BasicProperties, size: u64) -> [AMQPFrame; 2] {
    let publish = basic::Publish {
        exchange: "x".into(),
        routing_key: "k".into(),
        mandatory: true,
        immediate: false,
    };
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: size,
        properties,
    };
    [
        AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::Publish(publish))),
        AMQPFrame::Header(1, header),
    ]
}

proptest! {
    // Large bodies in small pieces take long.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In whatever pieces the client writes and the broker takes them.
    #[test]
    fn the_broker_gets_contents_in_place_of_tickets(
        messages in prop::collection::vec(prop_oneof![0_usize..9000, 0_usize..300_000], 1..8),
        offered in prop_oneof![Just(0_u32), Just(4096), Just(131_072), 4096_u32..200_000],
        most in prop_oneof![1_usize..50, 1000_usize..100_000],
        sizes in prop::collection::vec(0_usize..100_000, 1..4),
    ) {
        let outbox = Outbox::new();
        let (mut bytes, mut expected) = (b"AMQP\0\0\x09\x01".to_vec(), vec![]);
        bytes.extend(tune(10, 31, SHORT_FRAME));
        for (id, size) in messages.iter().enumerate() {
            let body = vec![id as u8; *size];
            let ticket = outbox.deposit(Contents {
                properties: properties::of_client(&properties_with(id)).into(),
                body: body.clone().into(),
            });
            bytes.extend(message(BasicProperties::default(), 8).iter().flat_map(bytes_of));
            bytes.extend([frame(3, &ticket), bytes_of(&AMQPFrame::Heartbeat)].concat());
            expected.push((message(properties_with(id), *size as u64), body));
        }
        let sizes = [sizes, vec![70_000]].concat();
        let got = written(&bytes, most, &sizes, Some(outbox.clone()), offered).unwrap();
        let (start, rest) = got.split_at(28);
        let longest = if offered == 0 { 131_072 } else { offered.min(131_072) };
        prop_assert_eq!(start, [b"AMQP\0\0\x09\x01".to_vec(), tune(10, 31, longest)].concat());
        prop_assert_eq!(outbox.frame_max(), longest as usize);
        let mut frames = VecDeque::from(parsed(rest.to_vec()));
        for (message, body) in expected {
            for part in message {
                prop_assert_eq!(frames.pop_front(), Some(part));
            }
            let mut got = vec![];
            while let Some(AMQPFrame::Body(1, piece)) = frames.front() {
                prop_assert!(piece.len() + 8 <= longest as usize);
                got.extend_from_slice(piece);
                frames.pop_front();
            }
            prop_assert!(got == body, "{} bytes of {}", got.len(), body.len());
            prop_assert_eq!(frames.pop_front(), Some(AMQPFrame::Heartbeat));
        }
        prop_assert_eq!(frames.len(), 0);
    }
}

/// lapin forgets a wake-up for writing if it has nothing to write.
#[test]
fn what_the_socket_does_not_take_wakes_lapin_for_reading_too() {
    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let around = Around {
        outbox: Some(Outbox::new()),
        deliveries: None,
    };
    let mut stream = GuardedStream::new(Takes::new(&[0]), SHORT_FRAME).with(131_072, around);
    let [reader, writer] = [Arc::<Count>::default(), Arc::default()];
    let [reading, writing] = [Waker::from(reader.clone()), writer.clone().into()];
    let read = Pin::new(&mut stream).poll_read(&mut Context::from_waker(&reading), &mut [0; 9]);
    assert!(read.is_pending());
    let heartbeat = bytes_of(&AMQPFrame::Heartbeat);
    let written = Pin::new(&mut stream).poll_write(&mut Context::from_waker(&writing), &heartbeat);
    assert!(matches!(written, Poll::Ready(Ok(8))));
    stream.stream.waker.take().unwrap().wake();
    assert_eq!((reader.0.load(SeqCst), writer.0.load(SeqCst)), (1, 1));
}

#[test]
fn a_message_without_contents_is_never_published() {
    let outbox = Outbox::new();
    let contents = Contents {
        properties: Bytes::from_static(&[0, 0]),
        body: Bytes::from_static(b"body"),
    };
    let ticket = outbox.deposit(contents.clone());
    assert_eq!(outbox.withdraw(&ticket), Some(contents));
    let frames = message(BasicProperties::default(), 8);
    let frames = frames.iter().flat_map(bytes_of);
    let bytes: Vec<u8> = frames.chain(frame(3, &ticket)).collect();
    let error = written(&bytes, 1000, &[1000], Some(outbox), 0).unwrap_err();
    assert_eq!(error.to_string(), "a message without contents is published");
}

#[test]
fn without_tickets_bodies_are_written_as_they_are() {
    let frames = message(properties_with(1), 8);
    let frames = frames.iter().flat_map(bytes_of);
    let bytes: Vec<u8> = frames.chain(frame(3, b"12345678")).collect();
    assert_eq!(written(&bytes, 7, &[9], None, 0).unwrap(), bytes);
}

#[test]
fn longer_frames_than_the_clients_are_split() {
    let body = |length| AMQPFrame::Body(1, vec![7; length]);
    let bytes = [body(10_000), AMQPFrame::Heartbeat, body(4088), body(4089)];
    let bytes: Vec<u8> = bytes.iter().flat_map(bytes_of).collect();
    for sizes in [vec![usize::MAX], vec![1000], vec![5, 4096]] {
        let frames = parsed(read(&bytes, &sizes, 1 << 20, 4096));
        let mut length = 0;
        for frame in &frames {
            if let AMQPFrame::Body(1, piece) = frame {
                assert!(piece.len() <= 4088 && piece.iter().all(|byte| *byte == 7));
                length += piece.len();
            }
        }
        assert_eq!(length, 10_000 + 4088 + 4089, "{sizes:?}");
        let others = frames
            .iter()
            .filter(|frame| **frame == AMQPFrame::Heartbeat);
        assert_eq!(others.count(), 1);
    }
}

#[test]
fn a_returned_event_keeps_its_id_whatever_its_headers() {
    for length in [36, 300, 5000] {
        returned_with_id(&"0".repeat(length));
    }
}

fn returned_with_id(id: &str) {
    let mut headers = FieldTable::default();
    let id = AMQPValue::LongString(id.into());
    headers.insert("messageId".into(), id.clone());
    for n in 0..600 {
        let name = format!("x-eio-meta-{n}");
        headers.insert(name.as_str().into(), AMQPValue::LongString("v".into()));
    }
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: 3,
        properties: BasicProperties::default().with_headers(headers),
    };
    let returned = [
        [0, 60, 0, 50, 1, 56].as_slice(),
        &name(b"NO_ROUTE"),
        &name(b"x"),
        &name(b"k"),
    ];
    let bytes = [
        frame(1, &returned.concat()),
        bytes_of(&AMQPFrame::Header(1, header)),
        frame(3, b"abc"),
    ];
    let pieces = Pieces {
        bytes: bytes.concat().into(),
        sizes: vec![usize::MAX],
        at: 0,
    };
    let mut stream = GuardedStream::new(pieces, SHORT_FRAME).with(131_072, Around::default());
    let mut into = vec![0; 1 << 20];
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Ok(count)) = Pin::new(&mut stream).poll_read(&mut cx, &mut into) else {
        panic!("nothing is read")
    };
    into.truncate(count);
    let frames = parsed(into);
    let AMQPFrame::Header(1, header) = &frames[1] else {
        panic!("{frames:?}")
    };
    let headers = header.properties.headers().as_ref().unwrap();
    assert_eq!(headers.inner().get("messageId"), Some(&id));
    assert!(headers.inner().len() < 600);
    // The event itself is not cut.
    assert_eq!(stream.frames.repaired(), Vec::<&str>::new());
}
