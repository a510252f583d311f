/** Which requests are gRPC. */

/** The content type to answer with; undefined if the request is no gRPC. */
export function grpcContentType(contentType: string | undefined): string | undefined {
  if (contentType === undefined || !contentType.startsWith("application/grpc")) return undefined;
  const rest = contentType.slice("application/grpc".length);
  if (rest === "" || rest.startsWith(";")) return "application/grpc";
  return rest.startsWith("+") ? `application/grpc${rest}` : undefined;
}
