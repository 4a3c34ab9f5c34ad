"""Runs inside a host: commits transactions to a database, and says of each that it is committed.

    transactions.py write FOLDER SEED          a line `NUMBER` for each committed transaction
    transactions.py check FOLDER SEED NUMBER   whether everything up to that number is there

SQLite with `PRAGMA synchronous=FULL`: a commit returns when it is on disk. Each transaction adds an
entry and moves an amount between two accounts, so that half of one would show. An odd seed keeps
SQLite's log ahead of the database (WAL), an even one its rollback journal, which a commit truncates:
the default, to unlink it, is durable only with `synchronous=EXTRA`, on any disk."""

import os
import random
import sqlite3
import sys

ACCOUNTS = 50
START = 1000


def entry(seed, number):
    """What a transaction moves: from, to, amount; and a text of its own."""
    dice = random.Random(f"{seed}/{number}")
    source, sink = dice.sample(range(ACCOUNTS), 2)
    return source, sink, dice.randint(1, 99), dice.randbytes(dice.choice([10, 300, 5000])).hex()


def opened(folder):
    """The database."""
    database = sqlite3.connect(os.path.join(folder, "bank.db"), isolation_level=None)
    database.execute("PRAGMA synchronous=FULL")
    return database


def write(folder, seed):
    """Commits until it is killed."""
    os.makedirs(folder)
    above = os.open(os.path.dirname(folder), os.O_RDONLY)
    os.fsync(above)
    database = opened(folder)
    mode = "WAL" if int(seed) % 2 else "TRUNCATE"
    database.execute(f"PRAGMA journal_mode={mode}")
    database.executescript(
        "BEGIN; CREATE TABLE account(id INTEGER PRIMARY KEY, amount INTEGER);"
        "CREATE TABLE entry(number INTEGER PRIMARY KEY, source, sink, amount, text);"
        + "".join(f"INSERT INTO account VALUES({i}, {START});" for i in range(ACCOUNTS))
        + "COMMIT;"
    )
    number = 0
    while True:
        source, sink, amount, text = entry(seed, number)
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE account SET amount = amount - ? WHERE id = ?", (amount, source))
        database.execute("UPDATE account SET amount = amount + ? WHERE id = ?", (amount, sink))
        values = (number, source, sink, amount, text)
        database.execute("INSERT INTO entry VALUES(?, ?, ?, ?, ?)", values)
        database.execute("COMMIT")
        print(number, flush=True)
        number += 1


def check(folder, seed, last):
    """Faults: the database is whole, has every transaction up to the last, and nothing besides."""
    database = opened(folder)
    faults = [line for (line,) in database.execute("PRAGMA integrity_check") if line != "ok"]
    rows = database.execute("SELECT * FROM entry ORDER BY number").fetchall()
    if len(rows) <= last:
        faults.append(f"{folder}: {len(rows)} transactions, and {last + 1} were committed")
    accounts = [START] * ACCOUNTS
    for number, row in enumerate(rows):
        if row != (number, *entry(seed, number)):
            faults.append(f"{folder}: transaction {number} is not what was committed")
            break
        accounts[row[1]] -= row[3]
        accounts[row[2]] += row[3]
    found = [amount for (amount,) in database.execute("SELECT amount FROM account ORDER BY id")]
    if found != accounts:
        faults.append(f"{folder}: the accounts do not follow from the transactions")
    return faults


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3])
    found_faults = check(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    print("\n".join(found_faults))
    sys.exit(1 if found_faults else 0)
