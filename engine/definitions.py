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
    "added_norm, share_of_norm": (
        "of steering: length of the longest row that is added; over |x| of the residual at its hook and the site's "
        "position, the largest of several hooks"
    ),
    "unsteered_hit, steered_hit, hit_change": (
        "whether a text holds one of options.words as a whole word, letter case aside; steered minus unsteered, both "
        "drawing the same random numbers"
    ),
    "success, change": (
        "share of completions with a hit, its 95 % interval by Wilson; change: minus the share without steering, its "
        "interval over resampled pairs"
    ),
    "ce_steered, delta_ce, kl (points)": (
        "mean cross-entropy of the next token of options.held_out texts with the vector added at the same token "
        "indices, nats; minus that without; mean KL(unsteered || steered): over predictions made behind the last "
        "steered token of all vectors of the run, or behind the first where steering never ends (counted: of each "
        "text); delta_low, delta_high: 95 % over texts; kl_prompts: behind the last token of windows of the population"
    ),
    "strength, factor": (
        "in options.unit: multiples of the vector as it came (native), length (norm), share of |x| (fraction), "
        "multiples of a feature's largest activation on the population (max-activation), kl on held-out text (kl); "
        "factor: what the vector was multiplied with"
    ),
    "repetition, distinct_1, distinct_2": (
        "share of 4-grams of a completion that stood in it before; share of different tokens and of different pairs"
    ),
    "cache_difference": (
        "largest difference of a drawn token's log-probability between writing with the key-value cache and one whole "
        "pass, over the first completions of a point"
    ),
    "frontier, best": (
        "points that no other has both at least the success and at most the delta_ce of; the most successful point of "
        "a vector with delta_ce up to options.budget, picked on the same completions"
    ),
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
    "triangle": (
        "threshold: toward the mixture (i t0 + j t1 + k t2) / (i + j + k) of three targets, minus the base; stride: "
        "spacing of the level it belongs to; first_is_lowest, first_is_lowest_corner: 1 where corner 0 is the smallest "
        "of all, of the corners, shared among ties; first_is_local: whether no neighbour of corner 0 lies lower"
    ),
    "plane": (
        "u, v: L2 from the base along orthonormal axes, the first toward B; kl_0, kl_1, kl_2 and l2_0, ...: KL(anchor "
        "|| place) and L2 at the last read hook from A (the base), B and C, each written into the base's context; "
        "flat_share, own_share: of the places between the anchors nearest to one, the share with KL from it below the "
        "level, and with its KL the smallest of the three"
    ),
    "slices, optima": (
        "plus, minus: thresholds of d cos t + g sin t to both sides, t degrees, g a unit draw orthogonal to d (and x "
        "on "
        "the sphere); improves, both_worse: whether one side, or neither, is below the centre's by more than 1e-5 of "
        "it; "
        "better_sides: share of sides below; best_over_centre: smaller side over the centre's; never counts as infinity"
    ),
    "mixtures, exponents, pairs": (
        "threshold along cos t u1 + sin t u2 at unit length, t = mixed; p: least squares of log size to (|a|/A)^p + "
        "(|b|/B)^p = 1, a and b the coefficients, over sizes whose 1/size^2 is the mean of all four mirror images (2 "
        "for "
        "any quadratic response; none where a pure direction or its opposite never breaks); p_plus: of 0 to 90 degrees "
        "as measured; p_plus_quadratic: of the sizes sqrt(2 level / t'Ft) there; p lies between 0.25 and 32"
    ),
    "combined, growth": (
        "threshold along the sum of n unit directions at unit length; slope: of log median threshold in log n"
    ),
    "interaction, excess": (
        "E(a, b) - E(a, 0) - E(0, b) + E(0, 0) of kl and of log_prob, the base token's log-probability; "
        "kl_quadratic_excess: a b u'Fv; stream_excess: length of the same of the residual at the last read hook, "
        "stream_share: over |f(a, 0) - f(0, 0)| + |f(0, b) - f(0, 0)|; and_share, or_share: of the grid without its "
        "axes "
        "with kl_excess above the level, below minus the level"
    ),
    "ascent, found, nearest": (
        "score: L2 at the last read hook where the path along u has options.at; turned: degrees from the start; "
        "same_as: an earlier start whose result has cosine above 0.95; cosine: with decoder rows, without their parts "
        "along x on the sphere; by_chance: median largest |cosine| of 64 covariance-matched differences"
    ),
    "mechanism, profiles": (
        "frozen: attention or MLP add to every copy what they add in the base run, norms divide by its divisor; width, "
        "start: share of the path from 10 % to 90 % of the last L2 at the last read hook, up to 10 % (0.8 and 0.1 on a "
        "line); l2_share: over the curve's last"
    ),
    "items, seal": (
        "curves of a blind test by name; sealed: seed, truth and vectors, compressed and masked; commitment: SHA-256 "
        "of "
        "what is sealed, recorded before the answer"
    ),
}
