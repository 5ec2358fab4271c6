from sim.identity import SEEDS, simulate


def test_simulation_reproduces_0_wrong_joins(tmp_path):
    """Short form of `make sim-identity`: one seed, 2,000 studies, both simulations."""
    run = simulate(SEEDS[0], persons=4_000, studies=2_000, folder=tmp_path)
    stated, assumed = run.stated["R4"], run.assumed["R4"]
    assert (stated.wrong, assumed.wrong) == (0, 0)
    assert stated.joined >= 0.98
    assert run.stated["PatientID only"].wrong > 500, "the noise is there to be withstood"
    assert run.assumed["assumed issuer treated as stated"].wrong > 0
