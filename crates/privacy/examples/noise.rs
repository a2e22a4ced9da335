//! `cargo xtask bench noise`: how many discrete Gaussians a core draws in a second of its time, beside
//! opendp's sampler.

// A benchmark reads the clock.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::process::ExitCode;

use cloister_privacy::discrete_gaussian::{MAX_SIGMA, sample};
use opendp::domains::{AtomDomain, VectorDomain};
use opendp::measurements::make_gaussian;
use opendp::measures::ZeroConcentratedDivergence;
use opendp::metrics::L2Distance;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const SIGMAS: [u32; 5] = [1, 16, 80, 1000, MAX_SIGMA];
const DRAWS: usize = 4_000_000;
// Fewer, because opendp's sampler is about a hundred times slower.
const DRAWS_OF_OPENDP: usize = 40_000;

/// Seconds that this thread has spent on a core, so that other programs on the machine do not count.
fn core_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// Draws per core-second of a run of so many draws.
fn speed(draws: usize, run: impl FnOnce()) -> Option<f64> {
    let start = core_seconds()?;
    run();
    Some(draws as f64 / (core_seconds()? - start))
}

fn ours(sigma: u32) -> Option<f64> {
    let mut random = ChaCha20Rng::seed_from_u64(u64::from(sigma));
    speed(DRAWS, || {
        (0..DRAWS).for_each(|_| {
            black_box(sample(sigma, &mut random));
        })
    })
}

fn opendps(sigma: u32) -> Option<f64> {
    let domain = VectorDomain::new(AtomDomain::<i64>::default());
    let metric = L2Distance::<f64>::default();
    let noise =
        make_gaussian::<_, _, ZeroConcentratedDivergence>(domain, metric, f64::from(sigma), None).ok()?;
    let zeros = vec![0; DRAWS_OF_OPENDP];
    speed(DRAWS_OF_OPENDP, || drop(black_box(noise.invoke(&zeros))))
}

fn main() -> ExitCode {
    let as_json = match std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => false,
        [ref flag] if flag == "--json" => true,
        _ => {
            eprintln!("cargo xtask bench noise [--json]");
            return ExitCode::from(2);
        }
    };
    let mut rows = Vec::new();
    for sigma in SIGMAS {
        let (Some(per_second), Some(opendp)) = (ours(sigma), opendps(sigma)) else {
            eprintln!(
                "this system does not tell how long a thread was on a core (/proc/thread-self/schedstat)"
            );
            return ExitCode::FAILURE;
        };
        if !as_json {
            println!("sigma {sigma:>7}: {:6.2} M/s, opendp {:6.2} M/s", per_second / 1e6, opendp / 1e6);
        }
        rows.push(
            serde_json::json!({"sigma": sigma, "per_core_second": per_second, "opendp_per_core_second": opendp}),
        );
    }
    if as_json {
        println!("{}", serde_json::json!({ "bench": "noise", "draws": DRAWS, "rows": rows }));
    }
    ExitCode::SUCCESS
}
