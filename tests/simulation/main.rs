//! Seeded schedules of people, devices, a network and a node that loses its power, over the real
//! machines of the core: what every device saw is compared with the log.
//!
//! `MAGPIE_SIMULATION_SEEDS=FIRST..END` runs other schedules than the usual ones.

mod accounts;
mod chance;
mod check;
mod device;
mod facts;
mod link;
mod log;
mod node;
mod world;

use std::{ops::Range, panic, thread};

use chance::Chance;
use world::World;

/// The schedules of a usual run.
const SCHEDULES: Range<u64> = 0..3_000;
/// Failures that are shown.
const SHOWN: usize = 3;

/// Runs a schedule to its end. Returns what it showed to devices, and what does not hold.
fn run(seed: u64) -> (String, Vec<String>) {
    let mut world = World::new(Chance::new(seed));
    world.plan();
    world.run_until(world::LIVELY);
    world.calm();
    world.run_until(world::SETTLED);
    let mut complaints = check::settled(&world);
    if complaints.is_empty() {
        world.watch_all();
        world.farewell();
        world.run_until(world::SETTLED + world::NOTICED);
        complaints = check::presence(&world);
    }
    (world.trace().to_owned(), complaints)
}

/// Runs schedules on both of two cores. Returns what failed.
fn failures(seeds: Range<u64>) -> Vec<String> {
    let share = |odd: u64| {
        let seeds = seeds.clone().filter(move |seed| seed % 2 == odd);
        let failed = |seed| match panic::catch_unwind(|| run(seed).1) {
            Ok(complaints) if complaints.is_empty() => None,
            Ok(complaints) => Some(format!("seed {seed}:\n  {}", complaints.join("\n  "))),
            Err(_) => Some(format!("seed {seed}: a panic, shown above")),
        };
        seeds.filter_map(failed).take(SHOWN).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let odd = scope.spawn(|| share(1));
        let mut failures = share(0);
        failures.extend(odd.join().expect("panics are caught"));
        failures
    })
}

#[test]
fn every_schedule_keeps_the_promises() {
    let seeds = match std::env::var("MAGPIE_SIMULATION_SEEDS") {
        Ok(range) => {
            let (first, end) = range.split_once("..").expect("FIRST..END");
            first.parse().expect("a number")..end.parse().expect("a number")
        }
        Err(_) => SCHEDULES,
    };
    let failures = failures(seeds);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let (one, other) = (run(seed).0, run(seed).0);
        let differs = one
            .lines()
            .zip(other.lines())
            .find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
