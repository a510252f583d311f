/** Paths as texts. */

/** The directory `path` is in. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
}

/** Without slashes at the end and doubled ones. */
export function cleanPath(path: string): string {
  const clean = path.replace(/\/+/g, "/");
  return clean.length > 1 && clean.endsWith("/") ? clean.slice(0, -1) : clean;
}
