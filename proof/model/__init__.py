"""An executable model of the protocol, explored exhaustively: charged once, whatever repeats, and whatever is restored.

`protocol` is the rules, each in prose and then in code. `world` is everything that can happen around them: requests and
events that come again, late, out of order or never; functions that crash between any two steps; two of them at work on
the same message; archiving step by step; group commit; writes that are rolled back; backups and restores, of all three
databases or of one of them, on top of one another. `promises` is what must hold in every state. `explore` visits all
states there are within bounds, judges each, and answers a broken promise with a shortest history. Liveness is judged in
each state as well: were faults to stop there, with everything that was on its way lost, would resend settle every
ordered basket? Where one database was restored alone: would each that stays ordered be refused aloud?

`configurations` holds the bounds, their numbers of states, and two tables. Of the mutations: for each rule, the promise
that breaks without it and the smallest bounds at which that shows. Of the damages: what the restore of one database
alone breaks with every rule in place. `python -m proof.model --mutations` prints the histories of both; `--big`
explores larger bounds than the tests do.

What is left out, and why that loses nothing, is told where it is left out: one user (`protocol`), slow emissions,
requests on their way, clocks, notifications, events of the lost time (`world`), looking in an archive later
(`protocol.recall`). What is left out and does matter has its tests elsewhere: the epochs of the three databases rise
together, for functions are stopped until they did; a basket has one number in all its events; and the code does what
the model does. One thing is not promised: an archive that was restored by itself from a life of the shop that was lost
in an earlier restore looks complete when it holds as many entries as that of the life that goes on.

In a history `2.3 (sum 1)` is attempt 3 of basket 2, for a sum of 1; `2'` is another basket of number 2, made after the
first restore.
"""
