"""The drift room: how far live traffic has moved from the reference, and whether to say so.

Lives here: record scores, the sequential detector with its promise, window distances, the Evidently page, backtest.
Comes in: exchanges and serialised profiles. Goes out: distances (how far) and alarms (whether to act).
Must never know: the other rooms, the network; only `backtest` and `report` touch files.
"""
