"""SPECs of delays and of codes, with their parameters and units, for the end of ``--help``."""

from __future__ import annotations

DELAY_SPECS = """\b
Delay SPECs (times carry a unit: us, ms, s or min; + adds delays up):
  none                                           as fast as the machine
  exp:mean=20ms                                  exponential
  shifted-exp:shift=5ms,mean=20ms                a constant, and an exponential tail of that mean
  uniform:low=1ms,high=9ms                       between two times
  pareto:scale=1ms,alpha=2                       heavy tail: P(delay > t) = (scale / t)^alpha
  normal-ops:mu=1e-10s,sigma=1e-9s               the paper's: mean and deviation per multiplication
  bimodal:p=0.2,fast=5ms,slow=1s                 slow with probability p, each worker in each round
  markov:fast=5ms,slow=1s,enter=0.05,leave=0.3   bursts: probabilities, per round, to turn slow and back
  slow:n=3,delay=30s                             always the same n workers are late
  dead:n=3                                       always the same n workers never respond
  trace:FILE                                     a CSV of seconds, as fit --record-trace writes it
"""

CODE_SPECS = """\b
Code SPECs (whole numbers; what is left out is chosen for the workers):
  uncoded                                        every block on one worker: waits for all
  replicated:copies=2                            every block on so many workers
  systematic:p=21                                p blocks, and combinations of them: any p responses decode
  entangled:h=6                                  the paper's code, D cut h x h
  entangled:p=20,r=2                             the same, D cut p x r
  entangled:h=4,points=real                      evaluated at circle (default), real or equispaced points
"""
