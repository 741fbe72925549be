#!/usr/bin/env python3
"""Prints a topic's events, one JSON object per line: subscribe.py http://127.0.0.1:8080 sip.transactions [CALL] [--once]
From Kafka instead, with confluent-kafka[avro]: subscribe.py http://127.0.0.1:8080 sip.transactions [CALL] --kafka=BROKER:9092
"""
import json, sys, time, urllib.error, urllib.parse, urllib.request


def json_lines(api, topic, call, once, _):
    at = "beginning"  # keep it with your own work: whoever goes on from here misses nothing and sees nothing twice
    while True:
        query = {"from": at, **({"call": call} if call else {})}
        try:
            with urllib.request.urlopen(f"{api}/topics/{topic}/records?{urllib.parse.urlencode(query)}") as answer:
                *records, last = [json.loads(line) for line in answer]
        except urllib.error.HTTPError as error:
            if error.code != 503: sys.exit(f"{api} refuses: {error.read().decode()}")
            print(f"{api} asks to wait: {error.read().decode()}", file=sys.stderr)
            time.sleep(int(error.headers.get("Retry-After", 1)))  # busy, or its Kafka is away: nothing is lost by coming again
            continue
        yield from records
        at = last["next"]
        if last["caught_up"] and once:
            return
        time.sleep(0.5 if last["caught_up"] else 0)


def kafka(api, topic, call, once, bootstrap):
    from confluent_kafka import Consumer, KafkaError, KafkaException
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    avro, ended = AvroDeserializer(SchemaRegistryClient({"url": api + "/registry"})), set()
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"subscribe-{time.time_ns()}",
                         "auto.offset.reset": "earliest", "enable.partition.eof": True, "enable.auto.commit": False})
    consumer.subscribe([topic])  # with a group of your own and commits, the broker keeps your place
    while not (once and ended and ended >= {part.partition for part in consumer.assignment()}):
        if (record := consumer.poll(1.0)) is None: continue
        if record.error() and record.error().code() != KafkaError._PARTITION_EOF: raise KafkaException(record.error())
        if record.error(): ended.add(record.partition())
        elif not call or record.key() == call.encode():
            yield {"partition": record.partition(), "offset": record.offset(), "event": avro(record.value(), None)}


flags = dict((word + "=").split("=")[:2] for word in sys.argv[1:] if word.startswith("--"))
api, topic, call, *_ = [word for word in sys.argv[1:] if not word.startswith("--")] + [None]
for record in (kafka if "--kafka" in flags else json_lines)(api, topic, call, "--once" in flags, flags.get("--kafka")):
    print(json.dumps(record, ensure_ascii=False, default=str), flush=True)
