export { Lease } from "./lease.ts";
export {
  LEASES_EXPIRED_MAX,
  LEASE_CHECKPOINTS_MAX,
  LEASE_CHECKPOINT_INTERVAL_MS,
  LEASE_EXPIRY_INTERVAL_MS,
  LEASE_TTL_MAX_SECONDS,
  Lessor,
} from "./lessor.ts";
export type { GrantedLease, LeaseOutcome, LessorOptions } from "./lessor.ts";
