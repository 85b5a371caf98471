"""No prior preservation: the denoising loss alone."""

from __future__ import annotations

from textreg.priors import Prior


class NoPrior(Prior):
    """Adds nothing, holds nothing."""

    anywhere = True
