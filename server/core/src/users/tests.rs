//! Presence over time.

use super::*;

const EDGE: EdgeId = EdgeId(0);

fn user(id: i64) -> UserId {
    UserId::new(id).expect("an id")
}

fn at(millis: u64) -> Now {
    Now {
        instant: Instant(millis),
        wall: Timestamp(1_000_000 + millis),
    }
}

struct World {
    users: Users,
}

impl World {
    /// Past the warm-up.
    fn new() -> Self {
        let limits = Limits {
            presence_warm_up_millis: 0,
            ..Limits::default()
        };
        let mut users = Users::new(limits, false, Instant(0));
        users.handle(Input::Tick, at(0));
        Self { users }
    }

    fn up(&mut self, id: i64, session: u64, device: i64, idle: bool, now: u64) {
        let device = DeviceId::new(device).expect("an id");
        let session = (EDGE, SessionId(session));
        self.users.handle(
            Input::Up {
                session,
                user: user(id),
                device,
                idle,
            },
            at(now),
        );
    }

    fn down(&mut self, id: i64, session: u64, linger_millis: u64, now: u64) {
        let session = (EDGE, SessionId(session));
        self.users.handle(
            Input::Down {
                session,
                user: user(id),
                linger_millis,
            },
            at(now),
        );
    }

    fn state(&self, id: i64) -> PresenceState {
        self.users.presence(user(id)).expect("known").state
    }

    /// The presences that a session was told since the last call.
    fn told(&mut self) -> Vec<(i64, PresenceState)> {
        let mut told = Vec::new();
        while let Some(output) = self.users.poll() {
            if let Output::Edge(_, ToEdge::Presence { presences, .. }) = output {
                told.extend(presences.into_iter().map(|p| (p.user.get(), p.state)));
            }
        }
        told
    }
}

#[test]
fn a_clean_end_is_offline_at_once_and_an_abrupt_one_after_the_grace() {
    let mut world = World::new();
    world.up(1, 1, 1, false, 0);
    assert_eq!(world.state(1), PresenceState::Online);
    world.down(1, 1, 0, 10);
    assert_eq!(world.state(1), PresenceState::Offline);
    world.users.handle(
        Input::Watch((EDGE, SessionId(9)), vec![(user(1), Stored::default())]),
        at(15),
    );
    world.up(1, 2, 1, false, 20);
    world.down(1, 2, 30_000, 30);
    world.users.handle(Input::Tick, at(30_029));
    assert_eq!(world.state(1), PresenceState::Online);
    world.users.handle(Input::Tick, at(30_030));
    let presence = world.users.presence(user(1)).expect("known");
    assert_eq!(presence.state, PresenceState::Offline);
    // Last seen when the session ended, not when the grace did.
    assert_eq!(presence.last_seen, Some(at(30).wall));
}

#[test]
fn a_flap_within_the_grace_is_not_seen() {
    let mut world = World::new();
    world.up(1, 1, 1, false, 0);
    world.users.handle(
        Input::Watch((EDGE, SessionId(9)), vec![(user(1), Stored::default())]),
        at(0),
    );
    assert_eq!(world.told(), [(1, PresenceState::Online)]);
    world.down(1, 1, 30_000, 1_000);
    world.up(1, 2, 1, false, 5_000);
    world.users.handle(Input::Tick, at(60_000));
    assert_eq!(world.told(), []);
    assert_eq!(world.state(1), PresenceState::Online);
}

#[test]
fn away_when_all_devices_are_idle() {
    let mut world = World::new();
    world.up(1, 1, 1, true, 0);
    world.up(1, 2, 2, false, 0);
    assert_eq!(world.state(1), PresenceState::Online);
    let session = (EDGE, SessionId(2));
    world.users.handle(
        Input::Idle {
            session,
            user: user(1),
            idle: true,
        },
        at(1),
    );
    assert_eq!(world.state(1), PresenceState::Away);
    world.down(1, 1, 0, 2);
    world.down(1, 2, 0, 2);
    assert_eq!(world.state(1), PresenceState::Offline);
}

#[test]
fn a_ninth_session_ends_the_oldest() {
    let mut world = World::new();
    for session in 1..=9 {
        world.up(
            1,
            session,
            i64::try_from(session).expect("small"),
            false,
            session,
        );
    }
    let mut ended = Vec::new();
    while let Some(output) = world.users.poll() {
        if let Output::Edge(_, ToEdge::End { session, reason }) = output {
            ended.push((session, reason));
        }
    }
    assert_eq!(ended, [(SessionId(1), Reason::SessionReplaced)]);
}

#[test]
fn a_new_owner_reports_no_one_offline_before_it_is_warm() {
    let mut users = Users::new(Limits::default(), false, Instant(0));
    users.handle(
        Input::Watch((EDGE, SessionId(9)), vec![(user(1), Stored::default())]),
        at(0),
    );
    assert_eq!(users.presence(user(1)), None);
    assert_eq!(users.poll(), None);
    users.handle(Input::Tick, at(75_000));
    let mut world = World { users };
    assert_eq!(world.told(), [(1, PresenceState::Offline)]);
}
