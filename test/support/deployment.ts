/** What most end-to-end tests stand on: a database of their own, an operator at it, and gateways with one key file. */
import { createDatabase, type TestDatabase } from './database';
import { startGateway, testHome, type GatewayProcess, type TestHome } from './gateway';
import { Operator } from './operator';

export class Deployment {
  private readonly gateways: GatewayProcess[] = [];

  private constructor(
    readonly database: TestDatabase,
    readonly home: TestHome,
    readonly operator: Operator,
  ) {}

  /** Without gateways yet. */
  static async open(): Promise<Deployment> {
    const database = await createDatabase();
    return new Deployment(database, testHome(), await Operator.connect(database.url));
  }

  /** One that ends with the deployment, if not before. @param environment settings over those of all tests */
  async start(environment: Record<string, string> = {}): Promise<GatewayProcess> {
    const { database, home } = this;
    const gateway = await startGateway({ databaseUrl: database.url, home, environment });
    this.gateways.push(gateway);
    return gateway;
  }

  async close(): Promise<void> {
    await this.operator.close();
    await Promise.all(this.gateways.map((gateway) => gateway.stop()));
    await this.database.drop();
    this.home.remove();
  }
}
