#!/usr/bin/env python3
"""Prints a topic's events, one JSON object per line: subscribe.py http://127.0.0.1:8080 sip.transactions [CALL] [--once]

From Kafka instead, with confluent-kafka[avro]: subscribe.py http://127.0.0.1:8080 sip.transactions --kafka BROKER:9092
"""
import json, sys, time, urllib.parse, urllib.request


def json_lines(api, topic, call, once):
    at = "beginning"  # keep it with your own work: whoever goes on from here misses nothing and sees nothing twice
    while True:
        query = {"from": at, **({"call": call} if call else {})}
        with urllib.request.urlopen(f"{api}/topics/{topic}/records?{urllib.parse.urlencode(query)}") as answer:
            *records, last = [json.loads(line) for line in answer]
        yield from records
        at = last["next"]
        if last["caught_up"]:
            if once:
                return
            time.sleep(0.5)


def kafka(api, topic, bootstrap):
    from confluent_kafka import DeserializingConsumer
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    avro = AvroDeserializer(SchemaRegistryClient({"url": api + "/registry"}))
    consumer = DeserializingConsumer({"bootstrap.servers": bootstrap, "group.id": "subscribe.py",
                                      "auto.offset.reset": "earliest", "value.deserializer": avro})
    consumer.subscribe([topic])
    while True:
        if (record := consumer.poll(1.0)) is not None:
            yield {"topic": topic, "partition": record.partition(), "offset": record.offset(), "event": record.value()}


flags = [word for word in sys.argv[1:] if word.startswith("--")]
words = [word for word in sys.argv[1:] if not word.startswith("--")] + [None]
from_kafka = "--kafka" in flags
for record in kafka(*words[:3]) if from_kafka else json_lines(*words[:3], "--once" in flags):
    print(json.dumps(record, ensure_ascii=False, default=str), flush=True)
