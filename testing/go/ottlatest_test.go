package ottlatest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestRecordsComeBack(t *testing.T) {
	broker := Start(t, Property("num.partitions", "3"))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker.BootstrapServers),
		kgo.AllowAutoTopicCreation(),
		kgo.ConsumeTopics("orders"),
		kgo.ConsumerGroup("test"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(50*time.Millisecond),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	record := &kgo.Record{Topic: "orders", Value: []byte("one")}
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		if records := fetches.Records(); len(records) > 0 {
			if got := string(records[0].Value); got != "one" {
				t.Fatalf("read %q", got)
			}
			return
		}
	}
}

func TestBrokersEndAndLeaveNothing(t *testing.T) {
	broker, err := Run()
	if err != nil {
		t.Fatal(err)
	}
	broker.Stop()
	if _, err := os.Stat(broker.home); !os.IsNotExist(err) {
		t.Fatalf("%s is still there", broker.home)
	}
}

func TestErrorsSayWhy(t *testing.T) {
	hangs := filepath.Join(t.TempDir(), "hangs")
	if err := os.WriteFile(hangs, []byte("#!/bin/sh\necho I hang\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, settings := range map[string][]Option{
		"the broker's binary is /nowhere/ottla, which is no program": {Binary("/nowhere/ottla")},
		"not ready after 500ms; it said:\nI hang":                    {Binary(hangs), ReadyIn(500 * time.Millisecond)},
		"num.partitions": {Property("num.partitions", "many")},
	} {
		if _, err := Run(settings...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("no %q in %v", name, err)
		}
	}
	t.Setenv("OTTLA_BIN", "")
	t.Setenv("PATH", t.TempDir())
	if _, err := Run(); err == nil || !strings.Contains(err.Error(), "no `ottla` on the PATH") {
		t.Errorf("%v", err)
	}
}
