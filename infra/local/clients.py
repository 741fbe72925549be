"""Small clients of the local servers: is it ready, and does it do what Trunkline needs of it. Used by `up`, `proof` and `platform`.

    clients.py kafka-ready BOOTSTRAP | kafka-proof BOOTSTRAP
    clients.py kafka-wipe BOOTSTRAP PREFIX
    clients.py clickhouse-ready URL PASSWORD_FILE | clickhouse-proof URL PASSWORD_FILE
    clients.py clickhouse-ask URL PASSWORD_FILE DATABASE SQL

A proof prints one line and ends with 0, or says what was not as expected and ends with 1.
"""

import http.client
import struct
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlsplit


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r} instead of {wanted!r}")


def kafka_ready(bootstrap):
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    if not admin.list_topics(timeout=2).brokers:
        sys.exit("no broker is registered yet")


def kafka_proof(bootstrap):
    """1,000 records through a topic made for them: idempotent, acks=all, zstd; all come back, each once, in their partition's order."""
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = f"local-proof-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=12, replication_factor=1)])[topic].result(20)
    try:
        refused = []
        producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "compression.type": "zstd",
            "partitioner": "murmur2_random",
            # A fresh broker answers the first idempotent producer with "coordinator load in progress"; it tries again by itself.
            "log_level": 3,
        })  # fmt: skip
        for n in range(1000):
            producer.produce(
                topic, key=f"call-{n % 100}", value=str(n), on_delivery=lambda error, _: error and refused.append(error)
            )
            producer.poll(0)
        expect("records without acknowledgement", (producer.flush(20), refused), (0, []))

        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        seen, until = [], time.monotonic() + 30
        while len(seen) < 1000 and time.monotonic() < until:
            message = consumer.poll(0.5)
            if message is not None and not message.error():
                seen.append((message.partition(), int(message.value())))
        consumer.commit(asynchronous=False)
        consumer.close()
        expect("records read", sorted(n for _, n in seen), list(range(1000)))
        for partition in range(12):
            numbers = [n for p, n in seen if p == partition]
            expect(f"order in partition {partition}", numbers, sorted(numbers))
    finally:
        for deleted in admin.delete_topics([topic]).values():
            deleted.result(20)
    print("topic with 12 partitions made, 1000 records produced and consumed, topic deleted")


def kafka_wipe(bootstrap, prefix):
    """Deletes the topics of one platform and its consumer groups: all of ours that begin with the prefix."""
    from confluent_kafka.admin import AdminClient

    names = [folder.name for folder in (Path(__file__).parents[2] / "schemas").iterdir() if (folder / "topic.toml").exists()]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    there = admin.list_topics(timeout=10).topics
    topics = [prefix + name for name in names if prefix + name in there]
    for deleted in (admin.delete_topics(topics) if topics else {}).values():
        deleted.result(20)
    groups = [group.group_id for group in admin.list_consumer_groups().result(20).valid]
    ours = [group for group in groups if group.startswith(prefix + "trunkline-")]
    for deleted in (admin.delete_consumer_groups(ours) if ours else {}).values():
        deleted.result(20)


class ClickHouse:
    def __init__(self, url, password_file):
        self.address = urlsplit(url).netloc
        self.password = Path(password_file).read_text().strip()

    def request(self, sql, body=b"", password=None, **params):
        """The status and the text of the answer."""
        connection = http.client.HTTPConnection(self.address, timeout=20)
        try:
            query = "&".join(f"{name}={quote(str(value))}" for name, value in {"query": sql, **params}.items())
            headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": self.password if password is None else password}
            connection.request("POST", "/?" + query, body, headers, encode_chunked=not isinstance(body, bytes))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ask(self, sql, body=b"", **params):
        status, text = self.request(sql, body, **params)
        expect(sql.split("\n")[0], (status, text if status != 200 else ""), (200, ""))
        return text.strip()


def clickhouse_ready(url, password_file):
    ClickHouse(url, password_file).ask("CREATE DATABASE IF NOT EXISTS trunkline")


def clickhouse_ask(url, password_file, database, sql):
    status, text = ClickHouse(url, password_file).request(sql, database=database)
    if status != 200:
        sys.exit(text.strip())
    if text.strip():
        print(text.strip())


def clickhouse_proof(url, password_file):
    server = ClickHouse(url, password_file)
    database = f"local_proof_{uuid.uuid4().hex}"
    server.ask(f"CREATE DATABASE {database}")
    try:
        prove_inserts(server, database)
        prove_slow_body(server, database)
        prove_refusals(server, database)
    finally:
        server.ask(f"DROP DATABASE {database}")
    print("rows in and out, a repeated token adds none, a slow body delays nobody, settings and passwords are checked")


def prove_inserts(server, database):
    server.ask(
        "CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100",
        database=database,
    )
    rows = b"".join(struct.pack("<IB", n, 1) + b"x" for n in range(100))
    insert = "INSERT INTO t(n, s) FORMAT RowBinary"

    def count(after):
        return after, server.ask("SELECT count() FROM t", database=database)

    server.ask(insert, iter([rows]), database=database, insert_deduplication_token="a")
    expect("rows after", count("an insert"), ("an insert", "100"))
    server.ask(insert, rows, database=database, insert_deduplication_token="a")
    expect("rows after", count("the same token"), ("the same token", "100"))
    server.ask(insert, rows, database=database, insert_deduplication_token="b")
    expect("rows after", count("another token"), ("another token", "200"))
    frame = lz4_frame(rows)
    server.ask(insert, frame, database=database, insert_deduplication_token="c", decompress=1)
    server.ask(insert, frame, database=database, insert_deduplication_token="c", decompress=1)
    expect("rows after", count("LZ4 frames"), ("LZ4 frames", "300"))
    # As often as the front has sessions, which take turns.
    left = {server.ask("SELECT getSetting('insert_deduplication_token') || currentDatabase()") for _ in range(8)}
    expect("what a request leaves behind for others", left, {"default"})
    expect("a parameter", server.ask("SELECT {a:UInt8} + 1", param_a=4), "5")


def lz4_frame(data):
    import lz4.block

    packed = lz4.block.compress(data, store_size=False)
    return bytes(16) + struct.pack("<BII", 0x82, len(packed) + 9, len(data)) + packed


def prove_slow_body(server, database):
    waits = []

    def body():
        yield struct.pack("<IB", 1, 1) + b"x"
        for _ in range(10):
            began = time.monotonic()
            expect("an answer beside an open body", server.ask("SELECT 1"), "1")
            waits.append(time.monotonic() - began)
        yield struct.pack("<IB", 2, 1) + b"y"

    server.ask("INSERT INTO t(n, s) FORMAT RowBinary", body(), database=database)
    expect("rows after a slow body", server.ask("SELECT count() FROM t", database=database), "302")
    expect("all answers within 2 s", max(waits) < 2, True)


def prove_refusals(server, database):
    insert = "INSERT INTO t(n, s) FORMAT RowBinary"
    expect("status with a wrong password", server.request("SELECT 1", password="wrong")[0], 403)
    long_body = (bytes(1 << 20) for _ in range(8))
    expect("status of an insert with a wrong password", server.request(insert, long_body, password="wrong")[0], 403)
    expect("status of an unknown setting", server.request("SELECT 1", no_such_setting=1)[0], 400)
    expect("status of an unknown table", server.request("SELECT * FROM nothing", database=database)[0], 404)
    status, text = server.request(insert, b"\x01", database=database)
    expect("a row that is cut off", (status, text[:5]), (500, "Code:"))


COMMANDS = {
    "kafka-ready": kafka_ready,
    "kafka-proof": kafka_proof,
    "kafka-wipe": kafka_wipe,
    "clickhouse-ask": clickhouse_ask,
    "clickhouse-ready": clickhouse_ready,
    "clickhouse-proof": clickhouse_proof,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
