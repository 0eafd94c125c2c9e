// Package ottlatest gives each test a Kafka broker of its own: `ottla dev`, ended with the test.
package ottlatest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Broker is a running broker.
type Broker struct {
	// BootstrapServers is what clients take for bootstrap.servers.
	BootstrapServers string

	home    string
	command *exec.Cmd
	ended   chan struct{}
	said    bytes.Buffer
}

// Option changes how a broker is started.
type Option func(*options)

type options struct {
	binary     string
	properties []string
	readyIn    time.Duration
}

// Binary names the program, which is otherwise OTTLA_BIN, or `ottla` on the PATH.
func Binary(path string) Option { return func(o *options) { o.binary = path } }

// Property sets a property of the broker, such as num.partitions.
func Property(name, value string) Option {
	return func(o *options) { o.properties = append(o.properties, "--override", name+"="+value) }
}

// ReadyIn is how long the broker may take to start, ten seconds unless told.
func ReadyIn(limit time.Duration) Option { return func(o *options) { o.readyIn = limit } }

// Start starts a broker that ends with the test, and fails the test if there is none.
func Start(t testing.TB, settings ...Option) *Broker {
	t.Helper()
	broker, err := Run(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Stop)
	return broker
}

// Run starts a broker; the caller stops it.
func Run(settings ...Option) (*Broker, error) {
	o := options{readyIn: 10 * time.Second}
	for _, set := range settings {
		set(&o)
	}
	binary, err := findBinary(o.binary)
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", "ottla-test-")
	if err != nil {
		return nil, fmt.Errorf("ottlatest: create a directory: %w", err)
	}
	ready := filepath.Join(home, "ready")
	arguments := []string{"dev", "--ephemeral", "--port", "0", "--ready-file", ready, "--until-stdin-closes"}
	arguments = append(arguments, o.properties...)
	broker := &Broker{home: home, command: exec.Command(binary, arguments...), ended: make(chan struct{})}
	broker.command.Stdout, broker.command.Stderr = &broker.said, &broker.said
	// Closed by the end of this process, however it ends: so does the broker.
	_, err = broker.command.StdinPipe()
	if err == nil {
		err = broker.command.Start()
	}
	if err != nil {
		os.RemoveAll(home)
		return nil, fmt.Errorf("ottlatest: start %s: %w", binary, err)
	}
	go func() {
		_ = broker.command.Wait()
		close(broker.ended)
	}()
	deadline := time.After(o.readyIn)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-broker.ended:
			return nil, broker.failed(fmt.Sprintf("%s ended before it was ready (%v)", binary, broker.command.ProcessState))
		case <-deadline:
			return nil, broker.failed(fmt.Sprintf("%s is not ready after %v", binary, o.readyIn))
		case <-look.C:
			if told, err := os.ReadFile(ready); err == nil {
				broker.BootstrapServers = strings.TrimSpace(string(told))
				return broker, nil
			}
		}
	}
}

// Stop ends the broker and removes what it kept. It may be called again.
func (b *Broker) Stop() {
	_ = b.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.ended:
	case <-time.After(10 * time.Second):
		_ = b.command.Process.Kill()
		<-b.ended
	}
	os.RemoveAll(b.home)
}

func (b *Broker) failed(reason string) error {
	b.Stop()
	lines := strings.Split(strings.TrimSpace(b.said.String()), "\n")
	said := strings.Join(lines[max(0, len(lines)-20):], "\n")
	return fmt.Errorf("ottlatest: %s; it said:\n%s", reason, said)
}

func findBinary(binary string) (string, error) {
	origin := "the broker's binary"
	if binary == "" {
		binary, origin = os.Getenv("OTTLA_BIN"), "OTTLA_BIN"
	}
	if binary == "" {
		found, err := exec.LookPath("ottla")
		if err != nil {
			return "", errors.New("ottlatest: no `ottla` on the PATH: install it, or set OTTLA_BIN to where it is")
		}
		return found, nil
	}
	if info, err := os.Stat(binary); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("ottlatest: %s is %s, which is no program that can be run", origin, binary)
	}
	return binary, nil
}
