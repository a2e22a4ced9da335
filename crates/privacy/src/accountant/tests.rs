use super::*;

fn gaussian(noise_multiplier: f64, sampling_probability: f64, count: u32) -> Account {
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
    discrete.add(Mechanism::DiscreteGaussian { sigma: 10.0, sensitivity: 1.0 }, 100);
    close(discrete.epsilon_by_losses(1e-8).expect("known"), 5.7766, 1e-3);
}
