/** Stands between clients and a member, so that a test can cut connections, or let them hang. */

import * as net from "node:net";

export class Proxy {
  readonly #sockets = new Set<net.Socket>();
  readonly #server: net.Server;
  endpoint = "";
  #isHanging = false;

  constructor(target: string) {
    const { hostname, port } = new URL(target);
    this.#server = net.createServer((near) => {
      if (this.#isHanging) near.pause();
      const far = net.connect({ host: hostname, port: Number(port) });
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on("error", () => undefined);
        socket.on("close", () => {
          this.#sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      near.on("data", (chunk) => void (this.#isHanging || far.write(chunk)));
      far.on("data", (chunk) => void (this.#isHanging || near.write(chunk)));
    });
  }

  static async listen(target: string): Promise<Proxy> {
    const proxy = new Proxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", () => resolve()));
    proxy.endpoint = `127.0.0.1:${(proxy.#server.address() as net.AddressInfo).port}`;
    return proxy;
  }

  /** Drops what comes from now on, with connections open: a peer that is gone without a word. */
  hang(): void {
    this.#isHanging = true;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}
