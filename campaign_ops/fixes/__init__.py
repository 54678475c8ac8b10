"""Manual fixes: what a person does to one campaign, reservation, repair or table. All of them are journaled.

Each repeats the premise that a sweep would, and is refused with the numbers where it does not hold; nothing is half
done. The person's name and reason go into the journal.

- `table`: every fix by its name; start here.
- `fix`: what they share: the person, the outcome, the sweep lock, the journal's author.
- `target`: find what a fix is about, or refuse.
- `complete`, `reenqueue`, `release`, `retry`: the runbook's fixes.
- `ambiguous`: the two decisions about recipients that the provider may already have.
- `rebind`: bind a campaign table to another queue or Redis.
- `undo`, `balance`: undo one repair, if the tenant still has the credits.
- `confirm`: the code that a dry run shows, and that lets exactly that fix pass, once.

To add one: a module with a function like the others, a row in `table`, its `RepairKind`, its row in `core.undoing`.
"""
