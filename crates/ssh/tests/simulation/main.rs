//! A client and a server, both honest, and everything between them that nobody promises: how the bytes are cut, who is
//! asked first, how late an answer comes, and when fresh keys are wanted.
//!
//! What happens is a function of a seed, which is printed when something is wrong. `SIMULATION_SEED=n` runs that one
//! alone and `SIMULATION_RUNS=n` so many.

mod choices;
mod every_byte;
mod flow;
mod greeting;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// No rule is broken, every byte is read once and in order, memory is bounded, nothing hangs, and nothing is left.
#[test]
fn honest_ends_understand_each_other_whatever_happens_between_them() {
    let seeds = match variable("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SIMULATION_RUNS").unwrap_or(100),
    };
    let mut rekeys = 0;
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            let steps = 200 + world.choices.below(4000);
            for _ in 0..steps {
                world.step();
            }
            world.finish();
            world.rekeys
        }));
        rekeys += run.unwrap_or_else(|panic| {
            eprintln!("SIMULATION_SEED={seed}");
            resume_unwind(panic)
        });
    }
    assert!(variable("SIMULATION_SEED").is_some() || rekeys > 200, "{rekeys} exchanges");
}
