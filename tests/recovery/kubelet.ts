/**
 * What a kubelet does with the manifest of etcd: runs its command while the file is there, with
 * the directories of the host where the pod mounts them, and anew when it ended or the file changed.
 */

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { parse } from "yaml";
import type { Machine } from "./site.ts";

const LOOK_MS = 100;

interface Manifest {
  readonly spec: {
    readonly containers: readonly {
      readonly command: readonly string[];
      readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
    }[];
    readonly volumes: readonly {
      readonly name: string;
      readonly hostPath: { readonly path: string };
    }[];
  };
}

export class Kubelet {
  readonly #machine: Machine;
  readonly #timer: NodeJS.Timeout;
  #child: ChildProcess | undefined;
  #running = "";

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#child?.kill("SIGKILL");
  }

  #look(): void {
    const file = this.#machine.path("/etc/kubernetes/manifests/etcd.yaml");
    const wanted = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
    if (this.#child !== undefined) {
      if (wanted !== this.#running) this.#child.kill("SIGTERM");
      return;
    }
    if (wanted !== "") this.#start(wanted);
  }

  #start(text: string): void {
    const { spec } = parse(text) as Manifest;
    const [container] = spec.containers;
    const places = container!.volumeMounts.map(({ name, mountPath }) => {
      const volume = spec.volumes.find((one) => one.name === name);
      return [mountPath, volume!.hostPath.path] as const;
    });
    const [program, ...words] = container!.command.map((word) => {
      const mount = places.find(([mounted]) => word.endsWith(`=${mounted}`));
      return mount === undefined ? word : word.replace(mount[0], mount[1]);
    });
    const log = fs.openSync(this.#machine.path("/run/etcd.log"), "a");
    const child = spawn(this.#machine.path(`/bin/${program}`), words, {
      stdio: ["ignore", log, log],
    });
    fs.closeSync(log);
    fs.writeFileSync(this.#machine.path("/run/etcd.pid"), String(child.pid));
    this.#child = child;
    this.#running = text;
    child.once("exit", () => {
      this.#child = undefined;
    });
  }
}

/** As `kubeadm` writes them, in what matters here. */
export const ETCD_MANIFEST = `apiVersion: v1
kind: Pod
metadata:
  name: etcd
  namespace: kube-system
spec:
  containers:
  - command:
    - etcd
    - --name=m1
    - --data-dir=/var/lib/etcd
    - --listen-client-urls=http://10.0.0.1:2379
    - --advertise-client-urls=http://10.0.0.1:2379
    - --listen-peer-urls=http://10.0.0.1:2380
    - --initial-advertise-peer-urls=http://10.0.0.1:2380
    - --initial-cluster=m1=http://10.0.0.1:2380
    image: etcd:3.6.14
    name: etcd
    volumeMounts:
    - mountPath: /var/lib/etcd
      name: etcd-data
  hostNetwork: true
  volumes:
  - hostPath:
      path: /var/lib/etcd
      type: DirectoryOrCreate
    name: etcd-data
`;

export const API_SERVER_MANIFEST = `apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - command:
    - kube-apiserver
    - --etcd-servers=http://10.0.0.1:2379
    name: kube-apiserver
`;
