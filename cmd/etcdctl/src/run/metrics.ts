/** Reads one metric of a server's `/metrics`. */

import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";

import type { ConnectionSettings } from "../context.ts";

const TIMEOUT_MS = 10_000;
/** Of the whole page; a server's is a tenth of it. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;

/** @returns 0 if the page has no such metric. @throws if the page cannot be had */
export async function readMetric(
  endpoint: string,
  name: string,
  settings: ConnectionSettings,
): Promise<number> {
  const url = /^https?:\/\//.test(endpoint) ? endpoint : `http://${endpoint}`;
  const page = await fetchPage(`${url}/metrics`, settings);
  return metricIn(page, name);
}

/** The value of a metric without labels in Prometheus' text format. */
export function metricIn(page: string, name: string): number {
  const line = page.split("\n").find((one) => one.startsWith(`${name} `));
  return line === undefined ? 0 : Number(line.slice(name.length));
}

function fetchPage(url: string, settings: ConnectionSettings): Promise<string> {
  return new Promise((resolve, reject) => {
    const isSecure = url.startsWith("https:");
    const request = (isSecure ? https : http).request(url, {
      timeout: TIMEOUT_MS,
      ...(isSecure ? tlsOptions(settings) : {}),
    });
    request.once("timeout", () => request.destroy(new Error(`no answer from ${url}`)));
    request.once("error", reject);
    request.once("response", (response) => {
      let page = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        page += text;
        if (page.length > PAGE_BYTES_MAX) request.destroy(new Error(`${url} is too long`));
      });
      response.once("end", () => resolve(page));
      response.once("error", reject);
    });
    request.end();
  });
}

function tlsOptions(settings: ConnectionSettings): https.RequestOptions {
  const { caPath, certPath, keyPath, skipVerify } = settings;
  return {
    ...(caPath === "" ? {} : { ca: readFileSync(caPath) }),
    ...(certPath === "" ? {} : { cert: readFileSync(certPath), key: readFileSync(keyPath) }),
    rejectUnauthorized: !skipVerify,
  };
}
