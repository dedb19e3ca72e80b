"""The definitions every number depends on, stored with every run. Text only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DEFINITIONS: Final[Mapping[str, str]] = {
    "basis": (
        "transformer-lens' processed basis: where the output ignores the mean over d_model (probed with a "
        "ones-vector), vectors have that mean subtracted; elsewhere they are raw. Written is raw + (x' - x)."
    ),
    "population": (
        "windows of the base's token length and BOS setting, cut at seeded random offsets, fed fresh, read at the "
        "base's index; duplicates up to that index and the base's own tokens dropped"
    ),
    "typical_distance": "median L2 distance over 1000 seeded pairs of the population",
    "base_run": "the base vector written at (write, position) into its host context",
    "random": "mu + (n-1)^-1/2 sum z_i (a_i - mu), z_i standard normal: the population's mean and sample covariance",
    "straight": "x' = x + a d/|d|, a = L2 distance",
    "sphere": "x' = |x| (cos t x/|x| + sin t d_perp/|d_perp|), t in degrees from the raw origin of the basis",
    "kl": "KL(base run || perturbed run) of the next-token distribution at the read position, nats; sums in float64",
    "l2": "Euclidean distance between base run and perturbed run at the read hook, in the basis",
    "cosine": "cosine between base run and perturbed run at the read hook, in the basis, not mean-centred over data",
    "js": "Jensen-Shannon divergence of the next-token distributions, nats",
    "top1_flip": "1 where the most probable token is not the base run's",
    "margin": "logit of the base run's most probable token minus the largest other one, nats; below 0 after a flip",
    "norm": "length at the read hook, in the basis, over that of the base run",
    "flips": (
        "share of coordinates at the read hook whose sign is not the base run's: at mlp.hook_post, of neurons (of "
        "act(gate) x up where there are gates)"
    ),
    "threshold": "first step with kl >= level, linear in kl from the step before, in the path's unit; null if never",
    "max_slope_step": "smallest k >= 1 that maximises l2[k] - l2[k-1] at the last read hook",
    "plateau_length": (
        "first L2 distance where l2 at the last read hook exceeds 1.1 x the through-origin line fitted below 0.1 "
        "typical distances (and exceeds it by the noise floor, where there is one); null if never (plateau_censored), "
        "or if no step lies below 0.1 typical distances or l2 does not rise to twice the noise floor there"
    ),
    "kl_quadratic": "a^2/2 t'Ft: Fisher prediction at the base, t the path's tangent; any smooth model is flat near 0",
    "kl_near": "kl at 0.2 typical distances (L2) from the base, linear between steps; quadratic_near: the same there",
    "quadratic_ratio": (
        "threshold / sqrt(2 level / t'Ft): below 1, KL grows faster than its curvature at the base says, as "
        "where a plateau ends in a jump; null when either is never reached, +infinity in medians when the threshold is"
    ),
    "threshold_0_1, threshold_1": "the threshold at 0.1 and at 1 nat, whatever the level",
    "area": "mean of kl over the path: trapezoids over the coordinate, divided by its length, nats",
    "base_entropy": "entropy of the base run's next-token distribution, nats",
    "near_share": "kl_near / KL at the end of the path: how flat the start is, whatever the scale",
    "ce_clean, ce_spliced, ce_zero, ce_mean": (
        "mean cross-entropy of the next token, nats, over the tokens replaced: nothing replaced, the SAE's "
        "reconstruction, zero in the basis, the mean activation of these texts; the first token stays and is not "
        "counted"
    ),
    "delta_ce": "ce_spliced - ce_clean; the table's kl: mean KL(clean || spliced) over the same tokens, nats",
    "squared_error, squared_distance": "mean |x - SAE(x)|^2 and |x - mean|^2: their ratio is the variance unexplained",
    "added_norm, share_of_norm": "length of what is added at the site's position and every later one; over |x| there",
    "unsteered_hit, steered_hit, hit_change": "whether a text holds one of options.words; steered minus unsteered",
    "noise_floor": (
        "largest kl and l2 between the base run and 32 runs whose base is moved by up to one unit in the last place "
        "of bfloat16 in every coordinate; measured where weights are bfloat16; nothing below it is a result"
    ),
    "layout": (
        "rule: copies of the written token as branches of a tree, rows of a batch, or whole prompts; a shard is some "
        "bases, their directions and all steps; its rows are computed coarse steps first, in this order and company"
    ),
    "sae_check": (
        "unexplained_variance: |x - SAE(x)|^2 over |x - mean|^2, summed over the population; "
        "constant_share_of_error: share of that error which its mean over the population makes; l0: mean number of "
        "active features"
    ),
    "contribution": (
        "decode(f) - decode(f with f_i = 0), with all normalisation; of one unit of activation where it is off"
    ),
    "project_out": "the direction made orthogonal to the span of those features' decoder rows",
    "win_rate (layers), first_threshold, second_threshold, first_never, second_never": (
        "of one base: P(threshold of the first kind < of the second); median thresholds in typical distances of the "
        "hook (degrees on the sphere), null where half never reach the level; share that never does"
    ),
    "kl_error, kl_isotropic, kl_random, kl_mixture, kl_norm": (
        "KL with SAE(x) written in place of x, and with x changed by as much in another way (mean over draws): at the "
        "site's position (substitution) or at all, per token (everywhere), nats; p_...: (1 + draws of the control "
        "whose KL is at least that of the error) / (1 + draws)"
    ),
    "kl_ratio, delta_ce_ratio": "mean of the error over mean of the control, low and high: 95 % over bases or texts",
    "cloud": (
        "distance, angle, cosines: of the activation and the base, centred on the population's mean; kl: with it "
        "written in place of the base; crossed_at: threshold on the straight way there, L2; plateau_ends: median "
        "threshold of the recipe's directions, in the axis; inside: whether it lies before that"
    ),
    "truncated": (
        "the prompt cut to its last tokens, read at every block's output: cosine_centred on the mean of the population "
        "there; share_of_square: its square"
    ),
    "p": "(1 + nulls whose threshold is at most the observed one) / (1 + n); nulls of the family from the same base",
    "encoder_explained, pursuit_explained, random_explained": (
        "1 - |v - sum|^2 / |v|^2 with the k largest encoder contributions, k steps of gradient pursuit, and the "
        "same with a random dictionary of as many unit vectors; v is x - b_dec for a base, d for a direction"
    ),
    "change, plus, minus": "plus: encoder activation at x + d; minus: at x; change: the difference; of a base x, 0",
    "rate_gap_decades, cosine_gap": (
        "of synthetic activations: mean |log10 rate| difference between latents and their stand-ins, and mean "
        "difference of their cosines to the strongest one"
    ),
    "cosine_unembedding, cosine_read_in": (
        "largest |cosine| of a direction with a row of W_U, and of what later blocks read, the gain of the norm "
        "included"
    ),
    "positive": "features whose value before the activation function is above 0",
    "win_rate": "mean over bases of P(threshold_a < threshold_b | same base); censored = +infinity, ties = 1/2",
}
