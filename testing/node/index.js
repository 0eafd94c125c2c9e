"use strict";

// A Kafka broker for each test: `ottla dev` in a process of its own.

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: pause } = require("node:timers/promises");

/** Brokers that run: they end with this process. */
const running = new Set();
process.on("exit", () => {
  for (const broker of running) broker.abandon();
});

/** The program: the one named, else OTTLA_BIN, else `ottla` on the PATH. */
function findBinary(binary) {
  const named = binary || process.env.OTTLA_BIN;
  if (named) {
    if (!isProgram(named)) {
      const origin = binary ? "the broker's binary" : "OTTLA_BIN";
      throw new Error(`${origin} is ${named}, which is no program that can be run`);
    }
    return named;
  }
  const places = (process.env.PATH || "").split(path.delimiter).filter(Boolean);
  const found = places.map((place) => path.join(place, "ottla")).find(isProgram);
  if (!found) throw new Error("no `ottla` on the PATH: install it, or set OTTLA_BIN to where it is");
  return found;
}

function isProgram(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

class Broker {
  constructor(binary, properties) {
    this.home = fs.mkdtempSync(path.join(os.tmpdir(), "ottla-test-"));
    this.ready = path.join(this.home, "ready");
    const overrides = Object.entries(properties).flatMap(([name, value]) => ["--override", `${name}=${value}`]);
    const words = ["dev", "--ephemeral", "--port", "0", "--ready-file", this.ready, "--until-stdin-closes", ...overrides];
    const log = fs.openSync(path.join(this.home, "log"), "w");
    this.process = spawn(binary, words, { stdio: ["pipe", log, log] });
    fs.closeSync(log);
    running.add(this);
    this.ended = new Promise((resolve) => {
      this.process.once("error", (error) => resolve(`cannot be run: ${error.message}`));
      this.process.once("exit", (code, signal) => resolve(`ended with ${signal || `status ${code}`}`));
    });
    this.ended.then((how) => {
      this.how = how;
    });
  }

  async awaitReady(binary, readyMs) {
    const deadline = Date.now() + readyMs;
    while (!fs.existsSync(this.ready)) {
      if (this.how) await this.fail(`${binary} ${this.how} before it was ready`);
      if (Date.now() > deadline) await this.fail(`${binary} is not ready after ${readyMs} ms`);
      await pause(5);
    }
    /** What clients take for bootstrap.servers. */
    this.bootstrapServers = fs.readFileSync(this.ready, "utf8").trim();
  }

  async fail(reason) {
    const said = fs.readFileSync(path.join(this.home, "log"), "utf8").trimEnd().split("\n").slice(-20).join("\n");
    await this.stop();
    throw new Error(`${reason}; it said:\n${said}`);
  }

  /** Ends the broker and removes what it kept. */
  async stop() {
    this.process.kill("SIGTERM");
    const impatience = setTimeout(() => this.process.kill("SIGKILL"), 10_000);
    await this.ended;
    clearTimeout(impatience);
    this.abandon();
  }

  abandon() {
    running.delete(this);
    this.process.kill("SIGTERM");
    fs.rmSync(this.home, { recursive: true, force: true });
  }
}

/**
 * Starts a broker; its `bootstrapServers` are for clients, its `stop()` ends it.
 * @param {{binary?: string, properties?: Record<string, unknown>, readyMs?: number}} [options]
 */
async function startBroker({ binary, properties = {}, readyMs = 10_000 } = {}) {
  const program = findBinary(binary);
  const broker = new Broker(program, properties);
  await broker.awaitReady(program, readyMs);
  return broker;
}

module.exports = { startBroker };
