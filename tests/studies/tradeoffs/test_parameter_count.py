"""Parameters counted from shapes are those of the network."""
import itertools

import pytest

from dclm_nb.image.config import METHODS, BackboneConfig
from dclm_nb.studies.tradeoffs.configurations import meta_network, parameter_count


@pytest.mark.parametrize("method", METHODS)
def test_as_many_as_the_network_has(method):
    more = dict(channels=5) if method == "diffusion" else dict(vocab_size=11)
    for positions, norm, layers in itertools.product(("rotary", "learned"), (True, False), (1, 3)):
        config = BackboneConfig(method, 16, layers, 2, 16, 7, 3, positions=positions, qk_norm=norm, **more)
        assert parameter_count(config) == sum(p.numel() for p in meta_network(config)[0].parameters())


def test_a_budget_builds_no_network():
    import subprocess
    import sys
    for exhibit in ("figure-b", "table-b"):
        code = ("import sys, dclm_nb.cli as c\ntry: c.main(['budget', '%s', '--paper', 'tradeoffs'])\n"
                "except SystemExit: pass\n"
                "sys.exit(any(m in sys.modules for m in ('torch._dynamo', 'lightning', 'transformers')))" % exhibit)
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0, exhibit
