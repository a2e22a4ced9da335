//! Tests of what a link over TCP has queued.

use proptest::prelude::*;

use super::*;
use crate::settings::WINDOW;

/// Hands over what one side has to send.
fn deliver(from: &mut State, to: &mut State) -> Result<usize, RecordFault> {
    let mut bytes = BytesMut::new();
    from.write_records(usize::MAX, &mut bytes);
    let length = bytes.len();
    while let Some(record) = Record::decode(&mut bytes)? {
        to.receive(record)?;
    }
    Ok(length)
}

#[test]
fn a_sender_waits_when_its_credits_are_used_up() {
    let (mut sender, mut receiver) = (State::new(WINDOW), State::new(WINDOW));
    let (mut sent, piece) = (0, vec![7; MOST_DATA]);
    for _ in 0..2000 {
        sent += sender.send(&piece).expect("open");
        deliver(&mut sender, &mut receiver).expect("records");
    }
    assert_eq!(sent, WINDOW as usize + MOST_OUTGOING);
    let mut read = 0;
    while let Some(bytes) = receiver.read(MOST_DATA).expect("open") {
        read += bytes.len();
    }
    assert_eq!(read, WINDOW as usize);
    deliver(&mut receiver, &mut sender).expect("credits");
    assert!(deliver(&mut sender, &mut receiver).expect("records") > MOST_OUTGOING, "it goes on");
}

/// WIRE-07
#[test]
fn more_data_than_credits_is_a_fault() {
    let mut receiver = State::new(WINDOW);
    let piece = Record::Data(BytesMut::from(&[7; MOST_DATA][..]));
    for _ in 0..WINDOW as usize / MOST_DATA {
        receiver.receive(piece.clone()).expect("within the window");
    }
    let fault = receiver.receive(Record::Data(BytesMut::from(&[7][..]))).expect_err("one byte too many");
    assert!(fault.to_string().contains("more data than it had credits for"), "{fault}");
}

/// WIRE-07
#[test]
fn records_in_a_wrong_place_are_faults() {
    for records in [
        vec![Record::End, Record::End],
        vec![Record::End, Record::Data(BytesMut::from(&[7][..]))],
        vec![Record::Received],
        vec![Record::Open(1)],
    ] {
        let mut state = State::new(WINDOW);
        let (last, before) = records.split_last().expect("at least one");
        for record in before {
            state.receive(record.clone()).expect("in its place");
        }
        assert!(state.receive(last.clone()).is_err(), "{records:?}");
    }
}

/// One record, or bytes that may be none.
fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
    let data = (1..=MOST_DATA).prop_map(|length| Record::Data(BytesMut::from(&vec![7; length][..])));
    let others = [Record::Credit(u32::MAX), Record::Heartbeat, Record::End, Record::Received, Record::Stop];
    let record = prop_oneof![3 => data, 1 => proptest::sample::select(others.to_vec())];
    let encoded = record.prop_map(|record| {
        let mut bytes = BytesMut::new();
        record.encode(&mut bytes);
        bytes.to_vec()
    });
    prop_oneof![20 => encoded, 1 => proptest::collection::vec(any::<u8>(), 1..20)]
}

proptest! {
    /// WIRE-07
    #[test]
    fn memory_is_bounded_whatever_arrives(
        pieces in proptest::collection::vec(some_bytes(), 1..1000),
        reads in any::<bool>(),
    ) {
        let (mut state, mut arrived, mut out) = (State::new(WINDOW), BytesMut::new(), BytesMut::new());
        'arriving: for piece in pieces {
            arrived.extend_from_slice(&piece);
            loop {
                let received = match Record::decode(&mut arrived) {
                    Ok(Some(record)) => state.receive(record),
                    Ok(None) => break,
                    Err(fault) => Err(fault),
                };
                if received.is_err() {
                    // The link ends.
                    break 'arriving;
                }
            }
            if reads {
                let _ = state.read(MOST_DATA);
            }
            out.clear();
            state.write_records(MOST_DATA, &mut out);
            prop_assert!(arrived.len() < 2 * MOST_DATA);
            prop_assert!(state.incoming.bytes.len() <= WINDOW as usize);
            prop_assert!(out.len() <= 3 * 7, "it answers with at most a receipt, a stop and credits");
        }
    }
}

#[test]
fn the_end_is_acknowledged_although_nothing_was_read() {
    let (mut sender, mut receiver) = (State::new(WINDOW), State::new(WINDOW));
    sender.send(b"last").expect("open");
    sender.finish();
    deliver(&mut sender, &mut receiver).expect("records");
    assert_eq!(sender.is_acknowledged(), Ok(false));
    deliver(&mut receiver, &mut sender).expect("the receipt");
    assert_eq!(sender.is_acknowledged(), Ok(true));
    assert_eq!(receiver.read(MOST_DATA), Ok(Some(b"last".to_vec())), "what arrived is read");
    assert_eq!(receiver.read(MOST_DATA), Ok(None), "the receipt may still be here");
    let mut lost = State::new(WINDOW);
    lost.receive(Record::End).expect("in its place");
    lost.lose(Loss::Cut);
    assert_eq!(lost.read(MOST_DATA), Ok(Some(Vec::new())), "no receipt will be sent any more");
    receiver.note_flushed();
    assert_eq!(receiver.read(MOST_DATA), Ok(Some(Vec::new())));
}
