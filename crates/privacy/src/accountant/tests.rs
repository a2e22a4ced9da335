use super::*;

fn gaussian(noise_multiplier: f64, sampling_probability: f64, count: u64) -> Account {
    let mut account = Account::default();
    account.add(Mechanism::Gaussian { noise_multiplier, sampling_probability }, count);
    account
}

fn close(got: f64, expected: f64, relative: f64) {
    assert!((got / expected - 1.0).abs() <= relative, "{got} is not {expected}");
}

/// σ, q, T, δ; RDP and PLD of PyPI `dp-accounting`.
#[test]
fn published_reference_values_are_met() {
    let rows = [
        (1.0, 0.01, 1000, 1e-5, 2.1014, 1.8282),
        (0.8, 0.05, 200, 1e-6, 9.9053, 8.8657),
        (4.0, 1.0, 50, 1e-6, 10.0894, 9.4822),
        (10.0, 1.0, 100, 1e-8, 6.0864, 5.7761),
    ];
    for (sigma, q, count, delta, rdp, pld) in rows {
        let account = gaussian(sigma, q, count);
        close(account.epsilon_by_renyi(delta), rdp, 1e-3);
        close(account.epsilon_by_losses(delta).expect("known"), pld, 1e-3);
        assert_eq!(account.epsilon(delta).method, "pld");
    }
    let mut discrete = Account::default();
    discrete
        .add(Mechanism::DiscreteGaussian { sigma: 10, parties: 1, coordinates: 1, sensitivity: 1.0 }, 100);
    close(discrete.epsilon_by_losses(1e-8).expect("known"), 5.7766, 1e-3);
}

/// PRIV-07: noise so little that moments underflow is never published as no loss.
#[test]
fn the_least_noise_costs_what_it_must() {
    let mut mixed = gaussian(1.0, 0.01, 1000);
    mixed.add(Mechanism::Gaussian { noise_multiplier: 0.01, sampling_probability: 0.5 }, 34);
    let rows = [
        (gaussian(0.03, 0.5, 1), 690.0),
        (mixed, 150_000.0),
        (gaussian(0.03, 1.0, 1), 555.0),
        (gaussian(0.001, 1.0, 1), 500_000.0),
        (gaussian(0.001, 1e-4, 100), 500_000.0),
        (gaussian(1e-9, 0.3, 5), 1e17),
        (gaussian(1e-200, 0.3, 5), 1e17),
        (gaussian(f64::MIN_POSITIVE, 1.0, u64::MAX), 1e17),
    ];
    for (account, least) in rows {
        let Epsilon { epsilon, method } = account.epsilon(1e-6);
        assert!(epsilon >= least, "{account:?}: {epsilon} by {method}");
        assert!(
            account.epsilon_by_losses(1e-6).is_none_or(|epsilon| epsilon.is_finite() && epsilon >= least)
        );
    }
}

/// PRIV-07: what δ and counts there may be, an ε is a number that is at least 0, or there is none.
#[test]
fn any_settings_have_an_epsilon_or_none() {
    let values = [1e-300, 1e-9, 1e-3, 0.05, 1.0, 30.0, 1e9, 1e300];
    let mut checked = 0;
    for sigma in values {
        for q in [1e-300, 1e-5, 0.3, 0.999_999, 1.0] {
            for (count, delta) in [(1, 1e-6), (20_000, 1e-15), (u64::MAX, 1e-300), (1, 0.999_999)] {
                let account = gaussian(sigma, q, count);
                let (found, losses) = (account.epsilon(delta).epsilon, account.epsilon_by_losses(delta));
                assert!(found >= 0.0, "{sigma} {q} {count} {delta}: {found}");
                assert!(
                    losses.is_none_or(|losses| losses.is_finite() && losses >= 0.0),
                    "{account:?}: {losses:?}"
                );
                checked += usize::from(losses.is_some());
            }
        }
    }
    assert!(checked > 40, "{checked}");
}
