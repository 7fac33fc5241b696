//! Rows survive their way to bytes and back, and what is damaged is noticed.

use proptest::prelude::*;

use super::*;

fn seqs() -> impl Strategy<Value = Seq> {
    (0..=i64::MAX).prop_map(|seq| Seq::new(seq).unwrap())
}

fn users() -> impl Strategy<Value = UserId> {
    (1..=i64::MAX).prop_map(|id| UserId::new(id).unwrap())
}

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Member), Just(Role::Owner)]
}

fn kinds() -> impl Strategy<Value = RoomKind> {
    prop_oneof![Just(RoomKind::Direct), Just(RoomKind::Group)]
}

fn changes() -> impl Strategy<Value = Vec<MemberChange>> {
    let kind = prop_oneof![
        roles().prop_map(ChangeKind::Joined),
        Just(ChangeKind::Left),
        Just(ChangeKind::Removed),
        roles().prop_map(ChangeKind::RoleChanged),
    ];
    let change = (users(), kind).prop_map(|(user, kind)| MemberChange { user, kind });
    prop::collection::vec(change, 0..5)
}

fn bodies() -> impl Strategy<Value = Body> {
    let message = (any::<Vec<u8>>(), any::<bool>()).prop_map(|(wire, long)| {
        Body::Message(Message {
            wire: wire.into(),
            long,
        })
    });
    let created =
        (kinds(), any::<String>(), changes()).prop_map(|(kind, title, changes)| Body::Created {
            kind,
            title,
            changes,
        });
    let updated = any::<Option<String>>().prop_map(|title| Body::Updated { title });
    prop_oneof![
        message,
        created,
        changes().prop_map(Body::Membership),
        updated
    ]
}

fn entries() -> impl Strategy<Value = StoredEntry> {
    let device = prop::option::of((1..=i64::MAX).prop_map(|id| DeviceId::new(id).unwrap()));
    let facts = (
        any::<u64>(),
        seqs(),
        seqs(),
        any::<u64>(),
        any::<[u8; 16]>(),
    );
    (facts, users(), device, bodies()).prop_map(|(facts, actor, device, body)| {
        let (epoch, committed_upto, seq, time, id) = facts;
        StoredEntry {
            epoch: Epoch(epoch),
            committed_upto,
            entry: Entry {
                seq,
                time: Timestamp(time),
                actor,
                device,
                id: MessageId(id),
                body,
            },
        }
    })
}

proptest! {
    #[test]
    fn entries_come_back(entry in entries()) {
        let value = encode_entry(&entry);
        let back = decode_entry(entry.entry.seq, entry.epoch, &value).unwrap();
        prop_assert_eq!(back, entry);
    }

    #[test]
    fn hints_come_back(
        seqs in (seqs(), seqs()), time: u64, kind in kinds(), title: String,
    ) {
        let hint = Hint {
            head: seqs.0,
            time: Timestamp(time),
            room_list: seqs.1,
            settings: Settings { kind, title },
        };
        prop_assert_eq!(decode_hint(&encode_hint(&hint)).unwrap(), hint);
    }

    #[test]
    fn members_come_back(
        role in roles(), joined in seqs(), left in prop::option::of(seqs()), sent in seqs(),
    ) {
        let member = MemberRow { role, joined, left, sent };
        prop_assert_eq!(decode_member(&encode_member(&member)).unwrap(), member);
    }

    #[test]
    fn numbers_come_back(seq in seqs(), other in seqs(), epoch: u64, prev: u64) {
        let boundary = Boundary { epoch: Epoch(epoch), start: seq, prev: Epoch(prev) };
        let back = decode_boundary(Epoch(epoch), &encode_boundary(&boundary)).unwrap();
        prop_assert_eq!(back, boundary);
        let marks = Marks { read: seq, delivered: other };
        prop_assert_eq!(decode_marks(&encode_marks(&marks)).unwrap(), marks);
        prop_assert_eq!(decode_pointer(&encode_seq(seq)).unwrap(), seq);
        prop_assert_eq!(decode_done(&encode_slot(Slot(epoch))).unwrap(), Slot(epoch));
    }

    #[test]
    fn no_bytes_make_it_panic(value: Vec<u8>) {
        decode_entry(Seq::ZERO, Epoch(0), &value).ok();
        decode_hint(&value).ok();
        decode_member(&value).ok();
        decode_body(&value).ok();
    }
}

#[test]
fn a_newer_version_is_told() {
    let mut value = encode_marks(&Marks::default());
    value[0] = 2;
    let error = decode_marks(&value).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log store is damaged: a row of kind marks has version 2, this program reads version 1"
    );
    assert!(decode_body(&[]).is_err());
    value[0] = 1;
    value.push(0);
    assert!(decode_marks(&value).is_err(), "nothing may follow");
}

/// What lies on disk must stay readable, so the bytes themselves are pinned.
#[test]
fn the_bytes_do_not_change() {
    let marks = Marks {
        read: Seq::new(300).unwrap(),
        delivered: Seq::new(1).unwrap(),
    };
    assert_eq!(encode_marks(&marks), [1, 0xac, 0x02, 1]);
    let entry = StoredEntry {
        epoch: Epoch(1),
        committed_upto: Seq::new(4).unwrap(),
        entry: Entry {
            seq: Seq::new(5).unwrap(),
            time: Timestamp(6),
            actor: UserId::new(7).unwrap(),
            device: DeviceId::new(8),
            id: MessageId([9; 16]),
            body: Body::Message(Message {
                wire: Bytes::from_static(b"hi"),
                long: true,
            }),
        },
    };
    let expected = [&[1, 4, 6, 7, 1, 8], &[9; 16][..], &[0, 2, b'h', b'i', 1]].concat();
    assert_eq!(encode_entry(&entry), expected);
}
