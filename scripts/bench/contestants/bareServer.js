#!/usr/bin/env node
// A bare Node server: sends each frame back as its response, and does nothing else that a gateway does. What it reaches
// is what sockets and the load generator leave of the machine.
//
//     bareServer.js [--batched]     prints host:port
//
// --batched: answers of all connections are written together, up to 2 ms after their frames.
const { createServer } = require('node:net');

const WINDOW = 2;
/** Where the length and the response bit of a header are (docs/protocol.md, "Frame"). */
const COMMAND_AT = 2;
const RESPONSE_BIT = 0x80;

const batched = process.argv.includes('--batched');
const waiting = [];

function send(socket, bytes) {
  if (!batched) return void socket.write(bytes);
  if (waiting.length === 0) setTimeout(flush, WINDOW);
  waiting.push({ socket, bytes });
}

function flush() {
  for (const { socket, bytes } of waiting.splice(0)) if (socket.writable) socket.write(bytes);
}

function serve(socket) {
  let held = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    let bytes = held.length > 0 ? Buffer.concat([held, chunk]) : chunk;
    while (bytes.length > COMMAND_AT && bytes.length >= bytes.readUInt16BE(0)) {
      const length = Math.max(COMMAND_AT + 1, bytes.readUInt16BE(0));
      const frame = bytes.subarray(0, length);
      frame[COMMAND_AT] |= RESPONSE_BIT;
      send(socket, frame);
      bytes = bytes.subarray(length);
    }
    held = bytes;
  });
}

const server = createServer({ noDelay: true }, serve);
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  const { address, port } = server.address();
  process.stdout.write(`${address}:${port}\n`);
});
