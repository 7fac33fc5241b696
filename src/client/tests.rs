//! The session over a real connection to the fake server.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    client::{
        Draft, Error, Event, Events, MemoryStore, Profile, SendError, Session, SessionOptions,
        Target, fake, fake::Fake, limits::EVENTS_QUEUED_MAX,
    },
    v1::{self, Credentials, ListEntriesRequest, Reason, ReconnectAdvice, State, entry::Body},
};

const ROOM: i64 = 7;

fn fast() -> SessionOptions {
    SessionOptions {
        profile: Profile::FAST,
        ..SessionOptions::default()
    }
}

async fn next(events: &mut Events) -> Event {
    let next = timeout(Duration::from_secs(20), events.next()).await;
    next.expect("an event in time").expect("no end yet")
}

/// Takes events until one is wanted.
async fn until<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(next(events).await) {
            return found;
        }
    }
}

async fn caught_up(events: &mut Events) {
    until(events, |event| {
        matches!(event, Event::CaughtUp).then_some(())
    })
    .await;
}

/// Takes events until the entry `seq`; returns the seqs of all entries on the way.
async fn entries_to(events: &mut Events, seq: i64) -> Vec<i64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&seq) {
        if let Event::Entry(entry) = next(events).await {
            seen.push(entry.seq);
        }
    }
    seen
}

fn seqs(range: std::ops::RangeInclusive<i64>) -> Vec<i64> {
    range.collect()
}

#[tokio::test]
async fn message_is_sent_and_comes_back_as_an_entry() {
    let fake = Fake::start().await;
    let (session, mut events) = Session::open(&fake.api(), fast());
    let sent = session.send(ROOM, "hello").await.expect("sent");
    assert_eq!(sent.seq, 1);
    let entry = until(&mut events, |event| match event {
        Event::Entry(entry) => Some(entry),
        _ => None,
    })
    .await;
    assert_eq!(entry.client_message_id, sent.client_message_id.to_bytes());
    assert!(matches!(entry.body, Some(Body::Message(message)) if message.text == "hello"));
}

#[tokio::test]
async fn cut_streams_lose_and_double_nothing() {
    let fake = Fake::start().await;
    let (_session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    for round in 0..5 {
        for line in 0..20 {
            fake.state().say(ROOM, &format!("{round}.{line}"), b"");
            if line == 10 {
                fake.cut();
            }
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(entries_to(&mut events, 100).await, seqs(1..=100));
}

#[tokio::test]
async fn unanswered_message_is_sent_again_under_its_id_and_made_once() {
    let fake = Fake::start().await;
    fake.state().unanswered = 2;
    let (session, _events) = Session::open(&fake.api(), fast());
    let sent = session.send(ROOM, "once").await.expect("sent");
    let state = fake.state();
    assert_eq!(sent.seq, 1);
    assert_eq!(state.logs[&ROOM].len(), 1);
    assert_eq!(state.sends.len(), 3);
    assert!(state.sends.iter().all(|send| *send == state.sends[0]));
}

#[tokio::test]
async fn refused_messages_keep_their_order() {
    let fake = Fake::start().await;
    let wait = prost_types::Duration {
        seconds: 0,
        nanos: 20_000_000,
    };
    let mut refusal = fake::error(Reason::RateLimited);
    refusal.retry_after = Some(wait);
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    fake.state().refusals = vec![refusal; 3];
    for text in 0..20 {
        let draft = Draft::new(ROOM, text.to_string());
        session.post(draft).await.expect("queued");
    }
    entries_to(&mut events, 20).await;
    let texts: Vec<_> = fake.state().logs[&ROOM]
        .iter()
        .map(|entry| match &entry.body {
            Some(Body::Message(message)) => message.text.clone(),
            _ => String::new(),
        })
        .collect();
    let expected: Vec<_> = (0..20).map(|text| text.to_string()).collect();
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn program_is_told_once_why_a_message_waits() {
    let fake = Fake::start().await;
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    let full = fake::error(Reason::StorageFull);
    let busy = fake::error(Reason::Overloaded);
    fake.state().refusals = vec![full.clone(), full, busy];
    let draft = Draft::new(ROOM, "patience");
    let id = draft.client_message_id;
    session.post(draft).await.expect("queued");
    let mut told = Vec::new();
    until(&mut events, |event| match event {
        Event::SendDelayed {
            room_id,
            client_message_id,
            refusal,
        } => {
            assert_eq!((room_id, client_message_id), (ROOM, id));
            told.push(refusal.reason);
            None
        }
        Event::SendOutcome { result, .. } => Some(result.expect("sent")),
        _ => None,
    })
    .await;
    assert_eq!(told, [Reason::Overloaded, Reason::StorageFull]);
}

#[tokio::test]
async fn final_refusal_reaches_the_sender_and_stops_nothing() {
    let fake = Fake::start().await;
    fake.state().refusals = vec![fake::error(Reason::InvalidField)];
    let (session, _events) = Session::open(&fake.api(), fast());
    let refused = session.send(ROOM, "").await.expect_err("refused");
    assert!(
        matches!(refused, SendError::Refused(refusal) if refusal.reason == Reason::InvalidField)
    );
    assert!(session.send(ROOM, "next").await.is_ok());
    assert!(session.pending().await.is_empty());
}

#[tokio::test]
async fn lost_event_is_fetched() {
    let fake = Fake::start().await;
    fake.state().say(ROOM, "first", b"");
    let (_session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    fake.state().lost_events = 3;
    for text in 0..5 {
        fake.state().say(ROOM, &text.to_string(), b"");
    }
    assert_eq!(entries_to(&mut events, 6).await, seqs(2..=6));
    assert_eq!(fake.state().pages, 1);
}

#[tokio::test]
async fn drain_moves_the_session_without_a_break() {
    let fake = Fake::start().await;
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    fake.drain(Duration::from_millis(50));
    let mut sent = 0;
    let moved = loop {
        session.send(ROOM, "while it moves").await.expect("sent");
        sent += 1;
        if fake.state().hellos.len() == 2 {
            break fake.state().hellos[1].clone();
        }
    };
    assert_eq!(moved.replaces_session_id, "0");
    let mut seen = Vec::new();
    let mut moves = 0;
    while seen.last() != Some(&sent) || moves == 0 {
        match next(&mut events).await {
            Event::Entry(entry) => seen.push(entry.seq),
            Event::Connected(connected) => moves += i32::from(connected.moved),
            Event::Disconnected { cause, .. } => panic!("a break: {cause}"),
            _ => {}
        }
    }
    assert_eq!(seen, seqs(1..=sent));
}

#[tokio::test]
async fn other_generation_drops_the_cache_and_begins_anew() {
    let fake = Fake::start().await;
    fake.state().say(ROOM, "old", b"");
    let (_session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    assert_eq!(events.state().generation, 1);
    fake.state().generation = 2;
    fake.cut();
    let generation = until(&mut events, |event| match event {
        Event::CacheDropped { generation } => Some(generation),
        _ => None,
    })
    .await;
    assert_eq!(generation, 2);
    assert!(events.state().cursors.is_empty());
    assert_eq!(entries_to(&mut events, 1).await, seqs(1..=1));
    assert_eq!(events.state().generation, 2);
}

/// The head that was known is of another log, in which an earlier copy may lie anywhere.
#[tokio::test]
async fn other_generation_makes_the_server_look_for_a_message_in_the_whole_log() {
    let fake = Fake::start().await;
    fake.state().say(ROOM, "old", b"");
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    fake.state().unanswered = 1;
    let sending = session.send(ROOM, "once");
    let restored = async {
        while fake.state().sends.is_empty() {
            tokio::task::yield_now().await;
        }
        fake.state().generation = 2;
        fake.cut();
    };
    let (sent, ()) = tokio::join!(sending, restored);
    assert_eq!(sent.expect("sent").seq, 2);
    let state = fake.state();
    assert_eq!(state.sends.len(), 2);
    let heads: Vec<_> = state.sends.iter().map(|send| send.after_seq).collect();
    assert_eq!(heads, [Some(1), Some(0)]);
}

#[tokio::test]
async fn state_covers_what_was_taken_and_no_more() {
    let fake = Fake::start().await;
    for text in 0..3 {
        fake.state().say(ROOM, &text.to_string(), b"");
    }
    let (session, mut events) = Session::open(&fake.api(), fast());
    entries_to(&mut events, 2).await;
    let state = session.state();
    assert_eq!(state.cursors[0].seq, 2);
    session.bye().await;
    let options = SessionOptions { state, ..fast() };
    let (_session, mut events) = Session::open(&fake.api(), options);
    assert_eq!(entries_to(&mut events, 3).await, seqs(3..=3));
}

#[tokio::test]
async fn advice_against_reconnecting_ends_the_session() {
    let fake = Fake::start().await;
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    fake.close(Reason::DeviceRevoked, ReconnectAdvice::No);
    let error = until(&mut events, |event| match event {
        Event::Ended { error } => Some(error),
        _ => None,
    })
    .await;
    let error = error.expect("a reason");
    assert_eq!(error.reason(), Some(Reason::DeviceRevoked));
    assert!(error.needs_log_in());
    assert!(events.next().await.is_none());
    let late = session.send(ROOM, "late").await;
    assert!(matches!(late, Err(SendError::SessionEnded)));
}

#[tokio::test]
async fn bye_ends_the_stream_cleanly() {
    let fake = Fake::start().await;
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    session.bye().await;
    assert_eq!(fake.state().byes, 1);
    let end = until(&mut events, |event| match event {
        Event::Ended { error } => Some(error),
        _ => None,
    })
    .await;
    assert!(end.is_none());
}

#[tokio::test]
async fn dropping_everything_says_bye() {
    let fake = Fake::start().await;
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    drop((session, events));
    for _ in 0..1_000 {
        if fake.state().byes == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no bye came");
}

#[tokio::test]
async fn expired_token_is_renewed_once_for_all_callers_and_told_to_the_stream() {
    let fake = Fake::start().await;
    let api = fake.api();
    let (_session, mut events) = Session::open(&api, fast());
    caught_up(&mut events).await;
    "another".clone_into(&mut fake.state().token);
    let call = || async {
        let request = ListEntriesRequest {
            room_id: ROOM,
            ..ListEntriesRequest::default()
        };
        api.messages().list_entries(request).await
    };
    let (first, second, third) = tokio::join!(call(), call(), call());
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    assert_eq!(fake.state().renewals, 1);
    fake.state().say(ROOM, "after it", b"");
    entries_to(&mut events, 1).await;
    while fake.state().renewed_in_band.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.state().renewed_in_band, ["token-1"]);
}

#[tokio::test]
async fn token_that_expired_while_away_is_renewed_before_the_stream_opens() {
    let fake = Fake::start().await;
    let api = fake.api();
    "another".clone_into(&mut fake.state().token);
    let (_session, mut events) = Session::open(&api, fast());
    caught_up(&mut events).await;
    assert_eq!(fake.state().renewals, 1);
}

#[tokio::test]
async fn sender_inside_the_event_loop_is_never_stuck() {
    let fake = Fake::start().await;
    let (session, mut events) = Session::open(&fake.api(), fast());
    caught_up(&mut events).await;
    let flood = i64::try_from(EVENTS_QUEUED_MAX).expect("small") * 2;
    for text in 0..flood {
        fake.state().say(ROOM, &text.to_string(), b"");
    }
    // Nothing is taken meanwhile, as in a program that waits for this answer in its event loop.
    let sent = session.send(ROOM, "answer me").await.expect("sent");
    assert_eq!(sent.seq, flood + 1);
    let mut last = 0;
    while last < sent.seq {
        match next(&mut events).await {
            Event::Entry(entry) => {
                assert_eq!(entry.seq, last + 1);
                last = entry.seq;
            }
            Event::Stale {
                after_seq,
                through_seq,
                ..
            } => {
                assert_eq!(after_seq, last);
                last = through_seq;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn read_mark_is_said_until_it_is_stored() {
    let fake = Fake::start().await;
    fake.state().say(ROOM, "read me", b"");
    let (session, mut events) = Session::open(&fake.api(), fast());
    session.mark_read(ROOM, 1).await.expect("open");
    caught_up(&mut events).await;
    while fake.state().marks.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.state().marks[0].seq, 1);
}

#[tokio::test]
async fn unreachable_server_is_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let target = Target::new(format!("http://{address}"));
    let store = Arc::new(MemoryStore::default());
    let credentials = Credentials {
        access_expire_time: Some(std::time::SystemTime::now().into()),
        ..Credentials::default()
    };
    let api = crate::client::Api::open(target, credentials, store).expect("an address");
    let (session, mut events) = Session::open(&api, fast());
    for _ in 0..3 {
        match next(&mut events).await {
            Event::Disconnected { cause, .. } => assert!(cause.is_transport(), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    session
        .post(Draft::new(ROOM, "kept"))
        .await
        .expect("queued");
    session.bye().await;
    assert_eq!(session.pending().await.len(), 1);
}

#[tokio::test]
async fn session_without_credentials_ends_at_once() {
    let api = crate::client::Api::anonymous(Target::new("http://127.0.0.1:1")).expect("an address");
    let (_session, mut events) = Session::open(&api, fast());
    let Event::Ended { error } = next(&mut events).await else {
        panic!("another event");
    };
    assert!(matches!(error, Some(Error::NotLoggedIn)));
}

#[tokio::test]
async fn state_of_an_older_session_survives_the_process() {
    let state = State {
        generation: 1,
        account_revision: 3,
        cursors: vec![v1::RoomCursor {
            room_id: ROOM,
            seq: 1,
            read_seq: 1,
        }],
    };
    let fake = Fake::start().await;
    fake.state().say(ROOM, "known", b"");
    let options = SessionOptions {
        state: state.clone(),
        ..fast()
    };
    let (_session, mut events) = Session::open(&fake.api(), options);
    caught_up(&mut events).await;
    assert_eq!(fake.state().hellos[0].state, Some(state.clone()));
    assert_eq!(events.state(), state);
}
